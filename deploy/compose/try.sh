#!/usr/bin/env bash
# Starts deploy/compose.yaml with traffic, waits until events are counted and seen, and ends it with all its volumes.
# SOURCE=kafka tries the topic instead. Needs Docker with compose, curl and openssl; writes over no other project of compose.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export COMPOSE_PROJECT_NAME=usage-ledger-try
profiles=(--profile demo)
if [ "${SOURCE:-}" = kafka ]; then profiles+=(--profile kafka); fi
compose() { docker compose --file compose.yaml "${profiles[@]}" "$@"; }

compose/secrets.sh
trap 'compose logs --tail 40; compose down --volumes' EXIT
compose up --detach --build

# eventually WHAT COMMAND …: waits for five minutes at most.
eventually() {
    local what=$1 tries
    shift
    for tries in $(seq 150); do
        if "$@"; then
            echo "try: $what"
            return
        fi
        sleep 2
    done
    echo "try: not after $tries looks: $what" >&2
    return 1
}
counted() {
    curl -fs http://127.0.0.1:9464/metrics |
        awk '/^usage_ledger_events_total.*result="counted"/ { sum += $2 } END { exit !(sum > 100) }'
}
# prometheus QUERY: it has a result.
prometheus() {
    curl -fsG http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | grep -q '"value"'
}
answered() {
    local token
    token=$(compose/secrets.sh --token)
    curl -fs -H "Authorization: Bearer $token" 'http://127.0.0.1:8080/v1/usage/summary?organizationId=acme' |
        grep -q '"requests":[1-9]'
}
shown() {
    curl -fs -u "admin:$(cat compose/.secrets/grafana)" http://127.0.0.1:3000/api/dashboards/uid/usage-ledger |
        grep -q '"title":"usage-ledger"'
}
eventually "more than a hundred events are counted" counted
eventually "the reader answers with them" answered
eventually "the page is there" curl -fs -o /dev/null http://127.0.0.1:8080/
eventually "Prometheus sees them" prometheus 'usage_ledger_ready == 1'
eventually "Prometheus has the alerts" prometheus 'usage_ledger:outage_seconds'
eventually "Grafana has the dashboard" shown
test "$(compose ps --format '{{.Health}}' usage-ledger)" = healthy
echo "try: user, root file system: $(docker inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}}' "$(compose ps -q usage-ledger)")"
