"""Mistakes in network policies: ways open that should not be, and shut that should not be."""

from tests.k8s.broken_variants.making import Broken, policy, without

_ANYBODY = {"podSelector": {}}
POLICIES = {
    "policy of an unknown protocol": Broken(
        policy("ingress 0 ports 0 protocol", "GRPC"), "GRPC is no protocol"
    ),
    "policy of an unknown port": Broken(
        policy("ingress 0 ports 0 port", "http"), "no container has a port http"
    ),
    "policy of nobody": Broken(
        policy("podSelector matchLabels app.kubernetes.io/name", "x"), "it selects no pods"
    ),
    "policy of some, and of nobody": Broken(
        policy("podSelector matchExpressions 0 values +", "x", "metrics"), "there is no x"
    ),
    "open to all": Broken(policy("ingress +", {}, "candidate-service"), "ingress is open"),
    "open to all, on the port of calls": Broken(
        policy("ingress +", {"ports": [{"port": "grpc"}]}, "candidate-service"),
        "a foreign pod reaches candidate-service on 50052",
    ),
    "open to the namespace": Broken(
        policy("ingress 0 from +", _ANYBODY, "profile-service"),
        "corkboard-jobs reaches profile-service on 50051",
    ),
    "open to all namespaces": Broken(
        policy("ingress 0 from +", {"namespaceSelector": {}}, "profile-service"),
        "a foreign pod reaches profile-service",
    ),
    "open to the internet": Broken(
        policy("ingress 0 from +", {"ipBlock": {"cidr": "0.0.0.0/0"}}),
        "an address reaches ranking-service",
    ),
    "open on every port": Broken(policy("ingress 0 ports", None), "ingress is open"),
    "open on a range of ports": Broken(
        policy("ingress 0 ports 0", {"port": 1, "endPort": 65535}),
        "reaches ranking-service on 9103",
    ),
    "callers of one namespace only": Broken(
        policy("ingress 0 from 0 namespaceSelector", None), "does not reach ranking-service"
    ),
    "clients may write": Broken(
        policy(
            "ingress 0 from 1 podSelector matchLabels",
            {"corkboard/client": "true"},
            "profile-service",
        ),
        "{'corkboard/client': 'true'} reaches profile-service",
    ),
    "ranking let in from elsewhere": Broken(
        policy("ingress 0 from 0 namespaceSelector", {}, "candidate-service"),
        "nobody of ours, no caller",
    ),
    "peer that is nobody": Broken(
        policy(
            "egress 0 to +",
            {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "ranker"}}},
        ),
        "nobody of ours, no caller",
    ),
    "caller by a label that nobody was told": Broken(
        policy("ingress 0 from 0 podSelector matchLabels", {"corkboard/clients": "true"}),
        "nobody of ours, no caller",
    ),
    "namespace that nobody knows": Broken(
        policy(
            "ingress 0 from 0 namespaceSelector matchLabels kubernetes.io/metadata.name",
            "monitor",
            "metrics",
        ),
        "Prometheus does not reach",
    ),
    "metrics without a policy": Broken(
        without("NetworkPolicy", "metrics"), "Prometheus does not reach profile-service on 9101"
    ),
    "nothing goes out of ranking": Broken(
        policy("egress", []), "ranking-service does not reach candidate-service on 50052"
    ),
    "ranking goes anywhere": Broken(
        policy(
            "egress +", {"to": [_ANYBODY | {"namespaceSelector": {}}], "ports": [{"port": 5432}]}
        ),
        "ranking-service goes out to a foreign pod on 5432",
    ),
    "everything goes out": Broken(
        policy("egress 0 to +", {"ipBlock": {"cidr": "0.0.0.0/0"}}, "names"),
        "goes out to an address",
    ),
    "everything may go out": Broken(
        policy("policyTypes", ["Ingress"], "nothing-by-default"), "Egress is open by default"
    ),
    "names on every port": Broken(
        policy("egress 0 ports 0 port", None, "names"), "all ports are open"
    ),
    "all pods beside OpenShift's names": Broken(
        policy("egress 1 to 0 podSelector", None, "names"), "goes out to a pod of openshift-dns"
    ),
    "pods that nobody thought of": Broken(
        policy(
            "podSelector",
            {"matchLabels": {"app.kubernetes.io/part-of": "corkboard"}},
            "nothing-by-default",
        ),
        "Ingress is open by default",
    ),
    "no names": Broken(without("NetworkPolicy", "names"), "does not reach DNS of kube-system"),
    "names without large answers": Broken(
        policy("egress 0 ports 1", None, "names"), "DNS of kube-system on 53/TCP"
    ),
    "names of OpenShift": Broken(
        policy("egress 1", None, "names"), "does not reach DNS of openshift-dns on 5353"
    ),
    "names of the node": Broken(
        policy("egress 0 to 1", None, "names"), "does not reach NodeLocal DNSCache"
    ),
}
