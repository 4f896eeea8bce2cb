"""Mistakes in what stands around pods: Services, settings, budgets, autoscalers."""

from tests.k8s.broken_variants.making import (
    Broken,
    budget,
    change,
    deployment,
    pod,
    scaler,
    server,
    setting,
    without,
)

SERVICES = {
    "service selects nothing": Broken(
        change("Service", "spec selector", {"app": "x"}), "selects no pods"
    ),
    "service without calls": Broken(change("Service", "spec ports 0", None), "port grpc is None"),
    "headless service that would translate": Broken(
        change("Service", "spec ports 0 port", 443), "port grpc is 443, that of the pods is 50053"
    ),
    "service without metrics": Broken(
        change("Service", "spec ports 1", None), "port metrics is None"
    ),
    "service port typo": Broken(
        change("Service", "spec ports 0 targetPort", "gprc"), "has the port gprc"
    ),
}
SETTINGS = {
    "setting that is none": Broken(setting("RANKING_SERVICE_PROFIL_TARGET", "x"), "is no setting"),
    "setting out of range": Broken(
        setting("CORKBOARD_DRAIN_SECONDS", "-1"), "CORKBOARD_DRAIN_SECONDS = '-1'"
    ),
    "data beside the volume": Broken(
        setting("CORKBOARD_DATA_ROOT", "/srv"), "its data root /srv is no volume"
    ),
    "listens to its own machine": Broken(setting("CORKBOARD_HOST", None), "listens on 127.0.0.1"),
    "port that nobody listens on": Broken(setting("RANKING_SERVICE_PORT", "1"), "listens on"),
    "killed while draining": Broken(pod("terminationGracePeriodSeconds", 18), "drained for 18 s"),
    "drains longer than it lives": Broken(
        setting("CORKBOARD_DRAIN_SECONDS", "60"), "drained for 63 s"
    ),
    "waits longer than it lives": Broken(
        setting("CORKBOARD_DRAIN_WAIT_SECONDS", "30"), "drained for 45 s"
    ),
    "target of no Service": Broken(
        setting("RANKING_SERVICE_PROFILE_TARGET", "dns:///profiles.corkboard:50051"),
        "is not the Service profile-service",
    ),
    "target of the other Service": Broken(
        setting("RANKING_SERVICE_PROFILE_TARGET", "dns:///candidate-service.corkboard:50052"),
        "is not the Service profile-service",
    ),
    "target of another namespace": Broken(
        setting("RANKING_SERVICE_CANDIDATE_TARGET", "dns:///candidate-service.default:50052"),
        "in another namespace",
    ),
    "target of another port": Broken(
        setting("RANKING_SERVICE_CANDIDATE_TARGET", "dns:///candidate-service.corkboard:9102"),
        "not the port grpc",
    ),
    "target that is not asked of DNS": Broken(
        setting("RANKING_SERVICE_CANDIDATE_TARGET", "candidate-service.corkboard:50052"),
        "is not dns:///",
    ),
    "target left at its default": Broken(
        setting("RANKING_SERVICE_PROFILE_TARGET", None), "is not dns:///"
    ),
    "live actions that stay where they are": Broken(
        setting("PROFILE_SERVICE_EXPORT_EVERY_SECONDS", "0"), "nobody exports"
    ),
    "live actions without an hour": Broken(
        setting("PROFILE_SERVICE_EXPORT_EVERY_SECONDS", None), "nobody exports"
    ),
    "one folder of impressions for all": Broken(
        server("env 2", {"name": "RANKING_SERVICE_IMPRESSION_LOG_NAME", "value": "main"}),
        "RANKING_SERVICE_IMPRESSION_LOG_NAME is not the pod's name",
    ),
    "one folder of live pins for a node": Broken(
        server("env 2 valueFrom fieldRef fieldPath", "spec.nodeName", "candidate-service"),
        "CANDIDATE_SERVICE_LIVE_LOG_NAME comes from",
    ),
    "folder of live pins unsaid": Broken(
        server("env 2", None, "candidate-service"), "CANDIDATE_SERVICE_LIVE_LOG_NAME is not"
    ),
}
PROMISED = {
    "no budget": Broken(without("PodDisruptionBudget", "ranking-service"), "budget of disruptions"),
    "both fields of a budget": Broken(budget("minAvailable", 1), "exactly one of"),
    "budget for nobody": Broken(budget("selector matchLabels", {"a": "b"}), "protects no pods"),
    "not spread": Broken(pod("topologySpreadConstraints", None), "not spread"),
    "others are spread": Broken(
        pod("topologySpreadConstraints 0 labelSelector matchLabels", {"a": "b"}), "not spread"
    ),
    "spread with the pods of all": Broken(
        pod("topologySpreadConstraints 0 labelSelector", {}), "not spread"
    ),
    "one address for all pods": Broken(change("Service", "spec clusterIP", None), "no headless"),
    "no service": Broken(without("Service", "candidate-service"), "no headless"),
    "nobody scales": Broken(
        without("HorizontalPodAutoscaler", "candidate-service"), "no autoscaler does"
    ),
    "scaler upside down": Broken(scaler("minReplicas", 99), "minReplicas is above"),
    "one pod at night": Broken(scaler("minReplicas", None), "one pod is left"),
    "scaled by nothing": Broken(scaler("metrics", []), "scales by [] % of CPU"),
    "scaled by what cannot be": Broken(
        scaler("metrics 0 resource target averageUtilization", 300), "scales by [300] % of CPU"
    ),
    "scaler of nothing": Broken(scaler("scaleTargetRef name", "x"), "there is no Deployment x"),
    "scaler against replicas": Broken(deployment("replicas", 2), "set back the replicas"),
}
