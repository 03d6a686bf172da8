#!/usr/bin/env bash
# Makes the passwords that deploy/compose.yaml uses, each a file of its own; what is there is kept. `--token` prints a token
# for the page instead, good for a day, of somebody who sees everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
folder=.secrets
# Nobody else on this machine gets past the folder. The files are for users within containers.
mkdir -p "$folder"
chmod 700 "$folder"

random() { head -c "$1" /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_'; }
keep() {
    [ -s "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"
    chmod 444 "$folder/$1"
}
encode() { base64 | tr -d '\n=' | tr '+/' '-_'; }

token() {
    local now head body
    now=$(date +%s)
    head=$(printf '{"alg":"HS256","typ":"JWT"}' | encode)
    body=$(printf '{"sub":"operator","exp":%d,"platformRole":"staff","organizations":{}}' "$((now + 86400))" | encode)
    printf '%s.%s.' "$head" "$body"
    printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -hmac "$(cat "$folder/jwt")" -binary | encode
    printf '\n'
}

if [ "${1:-}" = --token ]; then
    [ -s "$folder/jwt" ] || { echo "secrets.sh: there are no secrets yet: run it without --token first" >&2; exit 1; }
    token
    exit
fi
for name in mongodb-root grafana worker-password migration-password emitter-password; do
    keep "$name" "$(random 24)"
done
keep mongodb-key "$(head -c 512 /dev/urandom | base64 -w 0)"
keep jwt "$(random 48)"
for part in worker migration; do
    password=$(cat "$folder/$part-password")
    keep "$part-uri" "mongodb://usage-ledger-$part:$password@mongodb:27017/?replicaSet=rs0&authSource=admin"
done
echo "secrets.sh: passwords are in $PWD/$folder"
