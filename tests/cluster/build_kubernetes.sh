#!/usr/bin/env bash
# Compiles a small Kubernetes (1.20.2, the newest whose server source Debian 12 has) for tests/cluster:
#   tests/cluster/build_kubernetes.sh FOLDER        5 minutes of CPU, 4 GB while it builds, 400 MB kept in FOLDER/bin
# Needs Debian 12 and root (installs containerd, etcd, Go 1.19 and so on by apt-get).
set -euo pipefail
mkdir -p "${1:?say where to build}"
W=$(cd "$1" && pwd)
cd "$W"
apt-get install -y -qq --no-install-recommends containerd etcd-server runc containernetworking-plugins conntrack \
    dnsmasq-base iptables iproute2 golang-1.19-go golang-1.19-src dpkg-dev >/dev/null
mirror=$(grep -rhoE 'https?://[^ ]+/debian( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/ 2>/dev/null | head -1 | tr -d ' ')
echo "deb-src ${mirror:-http://deb.debian.org/debian} bookworm main" >sources.list
mkdir -p lists
from_here=(-o "Dir::Etc::sourcelist=$W/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$W/lists")
apt-get "${from_here[@]}" update -qq
apt-get "${from_here[@]}" source -qq --download-only kubernetes
mkdir -p gopath/src/k8s.io
tar xf kubernetes_*.orig.tar.* -C gopath/src/k8s.io
mv gopath/src/k8s.io/kubernetes-1.* gopath/src/k8s.io/kubernetes
cd gopath/src/k8s.io/kubernetes
# This tree is from before Go's modules; in their mode it does not build.
export PATH=/usr/lib/go-1.19/bin:$PATH GO111MODULE=off GOPATH=$W/gopath CGO_ENABLED=0 GOCACHE=$W/gocache GOFLAGS=
go build -o "$W/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
marked() { grep -rlE '^ *// *\+k8s:openapi-gen=' --include='*.go' "$@" | xargs -n1 dirname | sort -u; }
packages=$({ marked pkg cmd plugin; (cd staging/src && marked k8s.io) | sed 's#^#vendor/#'; } |
    grep -vE '/testing$|code-generator|sample|/test/' | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
"$W/openapi-gen" --logtostderr -h hack/boilerplate/boilerplate.generatego.txt -i "$packages" \
    -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi -r "$W/violations"
version=k8s.io/kubernetes/vendor/k8s.io/component-base/version # by another path it stays v0.0.0
for part in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    go build -p 2 -trimpath -o "$W/bin/$part" \
        -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
        "k8s.io/kubernetes/cmd/$part"
done
chmod -R u+w "$W/gopath" && rm -rf "$W/gopath" "$W/gocache" "$W/lists" "$W"/kubernetes_*
ls -l "$W/bin"
