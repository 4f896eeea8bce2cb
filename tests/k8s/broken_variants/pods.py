"""Mistakes in pods: workloads, hardening, names, resources, probes."""

from tests.k8s.broken_variants.making import (
    Broken,
    change,
    deployment,
    find,
    job_pod,
    pod,
    server,
    setting,
    volume,
)

WORKLOADS = {
    "selector misses its pods": Broken(
        deployment("selector matchLabels app.kubernetes.io/name", "x"), "select its own pods"
    ),
    "rollout that cannot move": Broken(
        deployment("strategy rollingUpdate maxSurge", 0), "never be updated"
    ),
    "pods taken away first": Broken(
        deployment("strategy rollingUpdate maxUnavailable", "25%"), "before others are ready"
    ),
    "selector of nobody": Broken(deployment("selector matchLabels", {}), "select its own pods"),
    "no image": Broken(server("image", None), "server has no image"),
    "pods that no policy chooses": Broken(
        deployment("template metadata labels app.kubernetes.io/part-of", None),
        "network policies choose by ['app.kubernetes.io/part-of']",
    ),
    "two writers of live actions": Broken(
        change("StatefulSet", "spec replicas", 2, "profile-service"), "actions of its own"
    ),
    "replaced faster than names are": Broken(deployment("minReadySeconds", 0), "minReadySeconds"),
    "missing account": Broken(pod("serviceAccountName", "x"), "no ServiceAccount x"),
    "service links": Broken(pod("enableServiceLinks", None), "service links"),
    "place of a nested volume left to root": Broken(
        change("StatefulSet", "spec template spec initContainers", None, "profile-service"),
        "no init container makes /data/live/profile",
    ),
    "place of a nested volume made elsewhere": Broken(
        change(
            "StatefulSet",
            "spec template spec initContainers 0 volumeMounts",
            [],
            "profile-service",
        ),
        "no init container makes /data/live/profile",
    ),
    "missing governing service": Broken(
        change("StatefulSet", "spec serviceName", "x", "profile-service"), "no Service x"
    ),
    "foreign namespace": Broken(
        change("Service", "metadata namespace", "default"), "not in the namespace"
    ),
    "same object twice": Broken(
        lambda found: found.append(find(found, "Service")), "is there twice"
    ),
}
HARDENING = {
    "token mounted": Broken(pod("automountServiceAccountToken", to=True), "the token"),
    "no security context of the pod": Broken(pod("securityContext", None), "runAsNonRoot"),
    "root": Broken(pod("securityContext runAsUser", 0), "runAsUser is 0"),
    "group of root": Broken(pod("securityContext runAsGroup", None), "runAsGroup is None"),
    "root not refused": Broken(pod("securityContext runAsNonRoot", None), "runAsNonRoot"),
    "root in a container": Broken(server("securityContext runAsUser", 0), "runAsUser"),
    "root in a job": Broken(job_pod("securityContext runAsUser", 0), "runAsUser is 0"),
    "no seccomp": Broken(pod("securityContext seccompProfile", None), "no seccomp"),
    "seccomp off": Broken(
        pod("securityContext seccompProfile", {"type": "Unconfined"}), "no seccomp"
    ),
    "network of the node": Broken(pod("hostNetwork", to=True), "hostNetwork"),
    "processes of the node": Broken(pod("hostPID", to=True), "hostPID"),
    "folder of the node": Broken(volume(hostPath={"path": "/"}), "more is a hostPath"),
    "port of the node": Broken(server("ports 0 hostPort", 50053), "a port of the node"),
    "kernel settings": Broken(pod("securityContext sysctls", [{"name": "x"}]), "sysctls"),
    "privileged": Broken(server("securityContext privileged", to=True), "is privileged"),
    "privileges gained": Broken(
        server("securityContext allowPrivilegeEscalation", None), "may gain"
    ),
    "writable root": Broken(
        server("securityContext readOnlyRootFilesystem", to=False), "can be written"
    ),
    "capabilities kept": Broken(
        server("securityContext capabilities", {"drop": ["NET_RAW"]}), "keeps capabilities"
    ),
    "capabilities added": Broken(
        server("securityContext capabilities add", ["SYS_ADMIN"]), "keeps capabilities"
    ),
}
REFERENCES = {
    "claim that is not there": Broken(
        volume(persistentVolumeClaim={"claimName": "x"}), "no claim x"
    ),
    "volume of a missing ConfigMap": Broken(volume(configMap={"name": "x"}), "no ConfigMap x"),
    "volume of a missing Secret": Broken(volume(secret={"secretName": "x"}), "no Secret x"),
    "missing Secret among others": Broken(
        volume(projected={"sources": [{"secret": {"name": "x"}}]}), "no Secret x"
    ),
    "missing settings": Broken(server("envFrom 0 configMapRef name", "x"), "no ConfigMap x"),
    "variables of a missing Secret": Broken(
        server("envFrom +", {"secretRef": {"name": "x"}}), "no Secret x"
    ),
    "variable of a missing ConfigMap": Broken(
        server("env +", {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}),
        "no ConfigMap x",
    ),
    "variable of a missing Secret": Broken(
        server("env +", {"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}),
        "no Secret x",
    ),
    "volume that nobody mounts": Broken(server("volumeMounts 0", None), "nobody mounts the volume"),
    "claim that nobody mounts": Broken(
        change(
            "StatefulSet", "spec template spec containers 0 volumeMounts 2", None, "profile-service"
        ),
        "nobody mounts the volume live",
    ),
    "volume of nothing": Broken(pod("volumes 0", {"name": "scratch"}), "one source is wanted"),
    "mount without volume": Broken(server("volumeMounts 0 name", "nowhere"), "no volume nowhere"),
    "two volumes at one path": Broken(
        server("volumeMounts 1 mountPath", "/tmp"),  # noqa: S108  a path in a pod
        "two volumes at one path",
    ),
    "job without its volume": Broken(job_pod("volumes", []), "no volume data"),
}
RESOURCES = {
    "memory request above limit": Broken(
        server("resources requests memory", "64Gi"), "request of memory is above"
    ),
    "quantity that is none": Broken(server("resources limits memory", "2GB"), "no quantity"),
    "no limits": Broken(server("resources", {}), "a limit of memory"),
    "claim for nobody": Broken(
        change("PersistentVolumeClaim", "spec accessModes", [], "corkboard-data"),
        "who may mount it",
    ),
    "claim of nothing": Broken(
        change("StatefulSet", "spec volumeClaimTemplates 0 spec resources", {}, "profile-service"),
        "how much it holds",
    ),
    "scratch without a bound": Broken(
        job_pod("volumes 1 emptyDir", {}), "may fill the node's disk"
    ),
    "scratch that nobody asked for": Broken(
        job_pod("volumes 1 emptyDir sizeLimit", "50Gi"), "ephemeral-storage is less"
    ),
    "workers as many as the node's cores": Broken(
        server("env 0", {"name": "CORKBOARD_WORKER_COUNT", "value": "0"}, "candidate-service"),
        "serve with a thread for each core",
    ),
    "worker count by another name": Broken(
        server("env 0 name", "CORKBOARD_WORKERS", "candidate-service"), "CORKBOARD_WORKERS is no"
    ),
    "source threads as many as cores": Broken(
        setting("CANDIDATE_SERVICE_SOURCE_THREAD_COUNT", None), "ask sources with a thread"
    ),
    "libraries' threads as many as cores": Broken(job_pod("containers 0 env", []), "OpenBLAS"),
    "engine's threads as many as cores": Broken(
        job_pod("containers 0 args 1", None), "its engine would take"
    ),
}
PROBES = {
    "two probe handlers": Broken(
        server("readinessProbe tcpSocket", {"port": 50053}), "one is wanted"
    ),
    "probe of a foreign port": Broken(server("livenessProbe grpc port", 8080), "asks port 8080"),
    "probe of a foreign service": Broken(
        server("livenessProbe grpc service", "corkboard.ranking.v1.Ranking"), "asks for corkboard"
    ),
    "liveness success threshold": Broken(
        server("livenessProbe successThreshold", 2), "successThreshold"
    ),
    "missing readiness": Broken(server("readinessProbe", None), "readinessProbe: is missing"),
    "killed while starting": Broken(
        server("startupProbe failureThreshold", None), "gives up after"
    ),
    "long port name": Broken(server("ports 0 name", "grpc-of-ranking-service"), "1 to 15"),
    "two ports of one name": Broken(server("ports 0 name", "metrics"), "two ports of one name"),
    "Prometheus sent to the calls": Broken(
        deployment("template metadata annotations prometheus.io/port", "50053"),
        "looks at 50053, not at 9103",
    ),
    "Prometheus sent nowhere": Broken(
        deployment("template metadata annotations prometheus.io/scrape", None), "not told to look"
    ),
}
