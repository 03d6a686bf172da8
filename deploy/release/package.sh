#!/usr/bin/env bash
# Packs a release: the program, its licence and those of all that it is made of, roles for MongoDB, alerts and dashboard.
#
#   deploy/release/package.sh TAG ARCHITECTURE BINARY FOLDER
#
# The same content makes the same archive. Fails where the tag is not this version, or the changelog does not know it.
set -euo pipefail
[ $# -eq 4 ] || {
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
    exit 64
}
tag=$1 architecture=$2 binary=$(realpath "$3") folder=$(realpath "$4")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
fail() {
    echo "package: $*" >&2
    exit 1
}
[ "$tag" = "v$version" ] || fail "the tag is $tag, and Cargo.toml says $version"
grep -qx "## $version" CHANGELOG.md || fail "CHANGELOG.md has no section \`## $version\`"

name=usage-ledger-$version-linux-$architecture
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/$name/deploy"
install -m 755 "$binary" "$scratch/$name/usage-ledger"
cp README.md CHANGELOG.md SECURITY.md LICENSE-APACHE LICENSE-MIT "$scratch/$name/"
cp -r deploy/RUNBOOK.md deploy/roles "$scratch/$name/deploy/"
cp deploy/helm/usage-ledger/files/rules.yaml deploy/helm/usage-ledger/files/dashboard.json "$scratch/$name/deploy/"
deploy/release/inventory.py licences >"$scratch/$name/LICENCES-OF-PARTS.txt"
deploy/release/inventory.py sbom >"$folder/$name.cdx.json"
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    --directory="$scratch" "$name" | gzip --no-name >"$folder/$name.tar.gz"
echo "package: $folder/$name.tar.gz"
