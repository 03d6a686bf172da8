#!/usr/bin/env bash
# Requests of one service into the topic, ten a second, for as long as it runs.
set -euo pipefail
if [ "${SOURCE:-}" != kafka ]; then exit 0; fi

organizations=(acme globex initech)
while true; do
    organization=${organizations[RANDOM % 3]}
    printf '%s:{"eventId":"%s","completedAt":"%s","source":"chat","organizationId":"%s","agentSlug":"support","model":"gpt-5-mini","provider":"demo","inputTokens":%d,"outputTokens":%d,"costNanos":%d}\n' \
        "$organization" "$(cat /proc/sys/kernel/random/uuid)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$organization" \
        "$((RANDOM % 4000))" "$((RANDOM % 900))" "$((RANDOM * 100))"
    sleep 0.1
done | /opt/kafka/bin/kafka-console-producer.sh --bootstrap-server kafka:9092 --topic request-events \
    --property parse.key=true --property key.separator=: --producer-property acks=all
