#!/usr/bin/env bash
# Checks everything in this folder that is no Rust: scripts, the Dockerfile, compose, the chart, rules, workflows.
# `deploy/setup.sh deploy` installs what it calls. Needs no container engine, no cluster and no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${USAGE_LEDGER_TOOLS:-$PWD/.local/tools}
python=$tools/deploy-python/bin
export PATH=$tools/deploy/bin:$PATH

mapfile -t scripts < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run)
shellcheck "${scripts[@]}"
"$python/hadolint" deploy/Dockerfile
"$python/check-jsonschema" --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
actionlint
rules=deploy/helm/usage-ledger/files/rules.yaml
promtool check rules "$rules" >/dev/null
promtool check config --syntax-only deploy/prometheus/prometheus.yml >/dev/null
promtool test rules deploy/prometheus/rules.test.yaml >/dev/null
"$python/python" deploy/check.py
echo "deploy: scripts, Dockerfile, compose, workflows, rules and chart are in order"
