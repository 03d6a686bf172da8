#!/usr/bin/env python3
"""What the program is made of: crates that are linked into it, and packages that are in its page.

    deploy/release/inventory.py licences    their licences, with the texts
    deploy/release/inventory.py sbom        a bill of materials, as CycloneDX 1.6

Needs cargo with its registry filled (`cargo fetch --locked`), and the page's node_modules. Prints to the standard output,
always the same for the same sources. Fails where a licence has no text.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "api/dashboard"
TEXT = re.compile(r"^(un)?licen[cs]es?([-._].*)?$|^(copying|copyright|notice)([-._].*)?$", re.IGNORECASE)
# Code in folders this deep belongs to a crate: librdkafka and AWS-LC lie in those that build them.
DEPTH = 3
# Tests and tools that lie beside vendored code are not linked.
NOT_LINKED = {"tests", "test", "examples", "benches", "third_party", "packaging", "util", "fuzz", "node_modules"}
# Where a package names a licence without bringing its text: these are the same for everybody.
STANDARD = {"Apache-2.0": ROOT / "LICENSE-APACHE", "MIT": ROOT / "LICENSE-MIT"}


def target():
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return os.environ.get("TARGET") or re.search(r"^host: (.*)$", version, re.MULTILINE).group(1)


def crates():
    """Those that the program is linked to, without its own."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target()]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in packages.items() if package["name"] == "usage-ledger"]
    linked = set()
    while waiting:
        id = waiting.pop()
        if id in linked:
            continue
        linked.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found = [packages[id] for id in linked if packages[id]["source"]]
    return [
        {
            "kind": "cargo",
            "name": package["name"],
            "version": package["version"],
            "licence": " ".join((package["license"] or "").replace("/", " OR ").split()),
            "folder": pathlib.Path(package["manifest_path"]).parent,
        }
        for package in sorted(found, key=lambda package: (package["name"], package["version"]))
    ]


def modules():
    """Packages that the page is built from, and not only with."""
    lock = json.loads((PAGE / "package-lock.json").read_text())
    found = []
    for place, package in sorted(lock["packages"].items()):
        if not place or package.get("dev") or package.get("optional"):
            continue
        found.append(
            {
                "kind": "npm",
                "name": place.rpartition("node_modules/")[2],
                "version": package["version"],
                "licence": package.get("license", ""),
                "folder": PAGE / place,
            }
        )
    return found


def checksums():
    lock = (ROOT / "Cargo.lock").read_text()
    package = re.compile(r'name = "(.*)"\nversion = "(.*)"\nsource = ".*"\nchecksum = "(.*)"')
    return {(name, version): checksum for name, version, checksum in package.findall(lock)}


def texts(folder):
    """Its licences' texts, by where they lie."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        is_linked = not NOT_LINKED & {part.lower() for part in inside[:-1]}
        if len(inside) <= DEPTH and is_linked and TEXT.match(path.name) and path.is_file() and path.suffix != ".rs":
            found["/".join(inside)] = path.read_text(errors="replace").strip()
    return found


def standard(licence):
    names = [name for name in re.split(r"[ ()]+", licence) if name in STANDARD]
    return {f"{name} (its standard text)": STANDARD[name].read_text().strip() for name in names[:1]}


def licences(parts):
    missing = []
    for part in parts:
        found = texts(part["folder"]) or standard(part["licence"])
        if not found:
            missing.append(f"{part['kind']} {part['name']} {part['version']}: {part['licence']}")
        print(f"{'=' * 100}\n{part['name']} {part['version']} ({part['kind']}): {part['licence']}\n")
        for name, text in found.items():
            print(f"--- {name}\n{text}\n")
    for line in missing:
        print(f"no text: {line}", file=sys.stderr)
    return 1 if missing else 0


def sbom(parts):
    version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    sums = checksums()
    components = []
    for part in parts:
        purl = f"pkg:{part['kind']}/{part['name'].replace('@', '%40')}@{part['version']}"
        component = {
            "type": "library",
            "bom-ref": purl,
            "name": part["name"],
            "version": part["version"],
            "purl": purl,
            "licenses": [{"expression": part["licence"]}],
        }
        checksum = sums.get((part["name"], part["version"])) if part["kind"] == "cargo" else None
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        components.append(component)
    program = f"pkg:generic/usage-ledger@{version}"
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": program, "name": "usage-ledger", "version": version}
        },
        "components": components,
        "dependencies": [{"ref": program, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    print(json.dumps(bill, indent=2))
    return 0


WORK = {"licences": licences, "sbom": sbom}
if len(sys.argv) != 2 or sys.argv[1] not in WORK:
    sys.exit(__doc__)
sys.exit(WORK[sys.argv[1]](crates() + modules()))
