#!/usr/bin/env bash
# npm for the usage page, with the Node that setup.sh installed where the system's own is too old, or none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
own=${USAGE_LEDGER_TOOLS:-$PWD/.local/tools}/node/bin
if [ -x "$own/node" ]; then PATH=$own:$PATH; fi
cd api/dashboard
exec npm "$@"
