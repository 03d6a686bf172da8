#!/usr/bin/env bash
# Installs what this project needs and a fresh Debian or Ubuntu with Rust lacks. Quick when all is there.
#
#   deploy/setup.sh build    a C compiler and the libraries that the program is built with
#   deploy/setup.sh mongodb  that, and a MongoDB to run against, unless there is one
#   deploy/setup.sh kafka    that, and Java with the jars of a Kafka broker
#   deploy/setup.sh node     Node, which the usage page is built with
#   deploy/setup.sh test     all of it, and a browser: the tests run against everything
#
# Servers go to .local/tools of this working copy, or to USAGE_LEDGER_TOOLS. System packages are installed by
# apt-get, as root or by sudo.
set -euo pipefail

readonly SECANTUS_VERSION=0.5.3-beta.196
readonly SCHEMATHESIS_VERSION=4.32.5
readonly NODE_VERSION=22.21.1
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
    for library in libssl-dev libcurl4-openssl-dev zlib1g-dev; do
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

# The contract of the reader is tested by a program in Python.
missing_for_contract() {
    if ! have python3 || ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then echo python3-venv; fi
}

# The usage page is built with Node and npm, and tested in a browser.
missing_for_page() {
    have node || echo nodejs
    have npm || echo npm
}
# A browser without a font shows nothing.
missing_for_browser() {
    if have chromium || have chromium-browser || have google-chrome; then return; fi
    printf '%s\n' chromium fonts-dejavu-core
}

# Installs system packages, or says how to.
need_packages() {
    [ $# -gt 0 ] || return 0
    if ! is_debian; then
        fail "no apt-get here: install what this system calls $*, and try again"
    fi
    local as=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! have sudo || ! { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            fail "run this once as root, then try again:  apt-get update && apt-get install -y ${*//|*/}"
        fi
        as=(sudo)
    fi
    say "installing ${*//|*/} (about a minute, once) …"
    "${as[@]}" apt-get update -qq
    local package choice packages=()
    for package in "$@"; do
        for choice in ${package//|/ }; do
            if apt-cache show "$choice" >/dev/null 2>&1; then break; fi
        done
        packages+=("$choice")
    done
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# The order of tests/testkit: the user's own, mongod, SecantusDB.
need_mongodb() {
    if [ -n "${1:-}" ] && [ -n "${USAGE_LEDGER_MONGODB_URI:-}" ]; then return; fi
    if [ -n "${MONGOD:-}" ] || have mongod || [ -n "${SECANTUSD:-}" ] || have secantusd-rs; then return; fi
    local program=$tools/secantus/bin/secantusd-rs
    if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qF "$SECANTUS_VERSION"; then return; fi
    say "no mongod here: building SecantusDB, which stands in for it (about 7 minutes on 2 cores, once) …"
    local build=$tools/secantus-build quiet=(--quiet)
    if [ -t 2 ]; then quiet=(); fi
    cargo install secantus-mdb --version "$SECANTUS_VERSION" --ignore-rust-version --locked --force \
        "${quiet[@]}" --root "$tools/secantus" --target-dir "$build" >&2
    rm -rf "$build"
    say "SecantusDB is in $tools/secantus"
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
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$SCHEMATHESIS_VERSION"
}

# Vite runs on Node 20.19, 22.12 and newer ones. Debian 12 has Node 18.
is_new_enough() {
    local version major minor
    version=$("$1" --version 2>/dev/null) || return 1
    IFS=. read -r major minor _ <<<"${version#v}"
    case "$major" in
        20) [ "$minor" -ge 19 ] ;;
        22) [ "$minor" -ge 12 ] ;;
        *) [ "$major" -gt 22 ] ;;
    esac
}

need_node() {
    if is_new_enough node; then return; fi
    local folder=$tools/node
    if is_new_enough "$folder/node_modules/.bin/node"; then return; fi
    say "Node $(node --version) is too old for the usage page: installing $NODE_VERSION beside it …"
    npm install --silent --no-audit --no-fund --prefix "$folder" "node@$NODE_VERSION" ||
        fail "install Node 20.19, 22.12 or newer, and run this again"
}

case "${1:-}" in
    build)
        need_rust
        mapfile -t missing < <(missing_to_build)
        need_packages "${missing[@]}"
        ;;
    node)
        mapfile -t missing < <(missing_for_page)
        need_packages "${missing[@]}"
        need_node
        ;;
    mongodb)
        need_rust
        mapfile -t missing < <(missing_to_build)
        need_packages "${missing[@]}"
        need_mongodb or-the-users
        ;;
    kafka)
        need_rust
        mapfile -t missing < <(missing_to_build && missing_for_kafka)
        need_packages "${missing[@]}"
        need_mongodb or-the-users
        need_kafka
        ;;
    test)
        # The tests stop and start their servers: the user's own will not do.
        need_rust
        mapfile -t missing < <(missing_to_build && missing_for_kafka && missing_for_contract && missing_for_page &&
            missing_for_browser)
        need_packages "${missing[@]}"
        need_node
        need_mongodb
        need_kafka
        need_schemathesis
        ;;
    *)
        sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
        [ "${1:-}" = --help ] || exit 64
        ;;
esac
