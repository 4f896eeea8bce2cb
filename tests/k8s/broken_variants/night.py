"""Mistakes in the hours of jobs."""

from tests.k8s.broken_variants.making import Broken, job, job_pod, without

JOBS = {
    "nobody trains": Broken(without("CronJob", "train-ranker"), "train_ranker never runs"),
    "nobody builds the graph": Broken(without("CronJob", "build-graph"), "build_graph never runs"),
    "job that is not there": Broken(
        job_pod("containers 0 args 0", "candidate_service.jobs.build_grapes"), "there is no job"
    ),
    "job of no service": Broken(
        job_pod("containers 0 args 0", "board_service.jobs.build_graph"), "is no service"
    ),
    "job twice": Broken(
        job_pod("containers 0 args 0", "candidate_service.jobs.build_graph"), "has two hours"
    ),
    "job asleep": Broken(job("suspend", to=True, name="build-graph"), "is suspended"),
    "job beside itself": Broken(
        job("concurrencyPolicy", "Allow", "build-graph"), "two of it may run"
    ),
    "job that hangs": Broken(
        job("jobTemplate spec activeDeadlineSeconds", None, "build-graph"), "hanging it would keep"
    ),
    "job that was missed too often": Broken(
        job("startingDeadlineSeconds", None, "build-graph"), "never started again"
    ),
    "job restarted in its pod": Broken(
        job_pod("restartPolicy", "OnFailure", "build-graph"), "no trace of its failures"
    ),
    "job by the clock of the node": Broken(job("timeZone", None, "build-graph"), "not told in UTC"),
    "job of Sundays": Broken(job("schedule", "0 3 * * 0", "build-graph"), "is not every day"),
    "job of no minute": Broken(job("schedule", "75 3 * * *", "build-graph"), "75 is not within"),
    "job before what it reads": Broken(
        job("schedule", "0 1 * * *", "build-graph"), "build_graph does not follow"
    ),
    "job the evening after": Broken(
        job("schedule", "0 22 * * *", "build-graph"), "build_graph does not follow"
    ),
    "trained before what was shown is there": Broken(
        job("schedule", "30 0 * * *", "train-ranker"), "train_ranker does not follow"
    ),
    "hourly job once a night": Broken(
        job("schedule", "15 3 * * *", "build-fresh"), "does not run every hour"
    ),
    "hourly job not by day": Broken(
        job("schedule", "15 0,1,2,3,4,5 * * *", "build-fresh"), "does not run every hour"
    ),
    "hourly job once a night, too early": Broken(
        job("schedule", "15 1 * * *", "build-fresh"), "build_fresh does not follow"
    ),
}
