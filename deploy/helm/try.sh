#!/usr/bin/env bash
# Installs the chart into a cluster of its own, upgrades it, has an event counted, and removes the cluster. Needs Docker with
# the image `usage-ledger:local`, kind, kubectl and helm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
readonly CLUSTER=usage-ledger-try
# Where kubectl stood before is left alone.
KUBECONFIG=$(mktemp)
export KUBECONFIG

kind create cluster --name "$CLUSTER" --wait 3m
trap 'kubectl get pods,jobs; kubectl logs --prefix --tail 30 -l app.kubernetes.io/name=usage-ledger; kind delete cluster --name "$CLUSTER"' EXIT
kind load docker-image usage-ledger:local --name "$CLUSTER"

kubectl create deployment mongodb --image docker.io/library/mongo:8.0.17 -- mongod --replSet rs0 --bind_ip_all
kubectl expose deployment mongodb --port 27017
kubectl rollout status deployment mongodb --timeout 3m
mongosh() { kubectl exec deployment/mongodb -- mongosh --quiet "$@"; }
tries=0
until mongosh --eval 'rs.initiate({_id: "rs0", members: [{_id: 0, host: "mongodb:27017"}]})'; do
    tries=$((tries + 1))
    [ "$tries" -lt 30 ] || exit 1
    sleep 2
done

uri='mongodb://mongodb:27017/?replicaSet=rs0'
kubectl create secret generic ledger --from-literal worker="$uri" --from-literal reader="$uri" \
    --from-literal migration="$uri" --from-literal jwt="$(head -c 48 /dev/urandom | base64 -w 0)"
for revision in 1 2; do
    helm upgrade --install ledger usage-ledger --values matrix/least.yaml --wait --timeout 5m \
        --set image.repository=usage-ledger,image.tag=local,image.pullPolicy=Never
    echo "try: revision $revision is there"
done
worker() { kubectl exec deployment/ledger-usage-ledger-worker -- usage-ledger "$@"; }
worker health --ready
mongosh usage --eval 'db.requestEvents.insertOne({_id: "try", completedAt: new Date(), source: "chat",
    organizationId: "acme", inputTokens: NumberLong(12), outputTokens: NumberLong(3)})'
tries=0
until worker lanes list | tee /dev/stderr | grep -q '1 read = 1 counted'; do
    tries=$((tries + 1))
    [ "$tries" -lt 30 ] || exit 1
    sleep 2
done
kubectl exec deployment/ledger-usage-ledger-reader -- usage-ledger health --ready
echo "try: installed, upgraded, counted"
