"""Renders the chart with each file of deploy/helm/matrix, and looks at what comes out; and at rules and dashboard."""

import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).parent
CHART = DEPLOY / "helm/usage-ledger"
MATRIX = sorted((DEPLOY / "helm/matrix").glob("*.yaml"))
# The oldest that Chart.yaml allows, and the newest whose schemas are known.
KUBERNETES = ["1.27", kubernetes_validate.latest_version()]
# Kinds of operators, whose schemas are not in there.
FOREIGN = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}

problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)


def helm(values):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        arguments = ["helm", "template", "demo", CHART, "--kube-version", "1.31.0", "-f", file.name]
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout, run.stderr


def read(path):
    return yaml.safe_load(path.read_text())


def pods(documents):
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def check_pod(where, pod):
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] and security["runAsUser"] > 0, f"{where}: runs as root")
    expect(pod["automountServiceAccountToken"] is False, f"{where}: has a token of Kubernetes")
    expect(pod["enableServiceLinks"] is False, f"{where}: gets variables of services")
    for container in pod["containers"]:
        own = container["securityContext"]
        expect(own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]}, f"{where}: may too much")
        expect("memory" in container["resources"]["limits"], f"{where}: no limit of memory")
        variables = [variable["name"] for variable in container["env"]]
        expect(len(variables) == len(set(variables)), f"{where}: a setting is there twice")
        for name in ("MONGODB_URI", "JWT_SECRET", "JWT_JWKS_URL", "KAFKA_PROPERTIES"):
            expect(f"USAGE_LEDGER_{name}" not in variables, f"{where}: {name} is no file")
        mounts = {mount["name"] for mount in container["volumeMounts"] or []}
        volumes = {volume["name"] for volume in pod["volumes"] or []}
        expect(mounts == volumes, f"{where}: mounts {mounts} of {volumes}")


def check_tls(where, documents, tls):
    service = next(d for d in documents if d["kind"] == "Service" and d["metadata"]["name"].endswith("-reader"))
    expect(service["spec"]["ports"][0]["name"] == ("https" if tls else "http"), f"{where}: the service says another protocol")
    for name, pod in pods(documents):
        (container,) = pod["containers"]
        settings = {v["name"]: v.get("value") for v in container["env"]}
        files = [settings.get(f"USAGE_LEDGER_API_TLS_{what}") for what in ("CERT", "KEY")]
        folders = [mount["mountPath"] for mount in container["volumeMounts"] or [] if mount["name"] == "tls"]
        if not name.endswith("-reader") or not tls:
            expect(files == [None, None] and not folders, f"{where}: {name} has a certificate")
        elif "secretName" in tls:
            expect(files == [f"{folder}/{file}" for folder in folders for file in ("tls.crt", "tls.key")], f"{where}: {files}")
        else:
            expect(files == [tls["certFile"], tls["keyFile"]] and not folders, f"{where}: {files}")
        probes = [container.get(f"{kind}Probe", {"httpGet": {"port": "metrics"}}) for kind in ("startup", "liveness", "readiness")]
        expect(all(probe["httpGet"]["port"] == "metrics" for probe in probes), f"{where}: {name} is probed on another port")


def check_rules(where, groups):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(groups, file)
        file.flush()
        run = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    expect(run.returncode == 0, f"{where}: {run.stdout}{run.stderr}")


def check_rendered(path):
    where = path.stem
    values = read(path)
    code, out, err = helm(values)
    if code != 0:
        problems.append(f"{where}: {err}")
        return
    documents = [document for document in yaml.safe_load_all(out) if document]
    kinds = {document["kind"] for document in documents}
    for document in documents:
        name = f"{where}: {document['kind']} {document['metadata']['name']}"
        if document["kind"] in FOREIGN:
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{name} ({version}): {error.message}")
    for name, pod in pods(documents):
        check_pod(f"{where}: {name}", pod)
    check_tls(where, documents, values.get("reader", {}).get("tls", {}))
    for document in documents:
        if document["kind"] == "PrometheusRule":
            check_rules(where, document["spec"])
            url = values["prometheusRule"]["runbookUrl"]
            expect(out.count(f"runbook_url: {url}#") == len(alerts()), f"{where}: links do not begin with {url}")
        if document["kind"] == "ConfigMap":
            expect(document["data"]["usage-ledger.json"] == dashboard_text(), f"{where}: another dashboard")
    expect(("ScaledObject" in kinds) == values.get("keda", {}).get("enabled", False), f"{where}: KEDA")
    workers = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"].endswith("-worker")]
    expect(("replicas" in workers[0]["spec"]) != ("ScaledObject" in kinds), f"{where}: two say how many workers")


# What must be refused, and a word of why.
REFUSED = [
    ({"image": {"repository": ""}}, "image.repository"),
    ({"secrets": {"workerMongodbUri": {}}}, "secrets.workerMongodbUri"),
    ({"secrets": {"workerMongodbUri": "mongodb://u:p@h"}}, "workerMongodbUri"),
    ({"secrets": {"jwtJwksUrl": {"name": "a", "key": "b"}}}, "who may read"),
    ({"secrets": {"jwtSecret": {}}}, "who may read"),
    ({"source": "rabbit"}, "source"),
    ({"source": "kafka"}, "kafka.brokers"),
    ({"source": "kafka", "kafka": {"brokers": "k:9092", "partitions": 1}}, "more than kafka.partitions"),
    ({"keda": {"enabled": True}}, "a change stream has one leader"),
    ({"config": {"MONGODB_URI": "mongodb://u:p@h"}}, "MONGODB_URI"),
    ({"config": {"LEASE": 10}}, "LEASE"),
    ({"config": {"API_TLS_CERT": "/tls.crt"}}, "API_TLS_CERT"),
    ({"reader": {"tls": {"certFile": "/tls.crt"}}}, "tls"),
    ({"reader": {"tls": {"secretName": "a", "certFile": "/tls.crt", "keyFile": "/tls.key"}}}, "tls"),
    ({"workers": {"replicas": 3}}, "workers"),
]


def merged(values, more):
    values = copy.deepcopy(values)
    for name, value in more.items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        # An empty value takes the place of what was there.
        values[name] = merged(values[name], value) if both and value else value
    return values


def check_refused():
    least = read(DEPLOY / "helm/matrix/least.yaml")
    for more, word in REFUSED:
        code, _, err = helm(merged(least, more))
        expect(code != 0 and word in err, f"{more}: is not refused for `{word}`: {err}")


def alerts():
    rules = read(CHART / "files/rules.yaml")
    return [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]


def check_alerts():
    tests = read(DEPLOY / "prometheus/rules.test.yaml")["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    for rule in alerts():
        name = rule["alert"]
        expect(name in fired, f"{name}: is never seen to fire")
        expect(name in quiet, f"{name}: is never seen to be quiet")
        expect(rule["labels"]["severity"] in ("critical", "warning", "info"), f"{name}: severity")
        expect({"summary", "description", "runbook_url"} == set(rule["annotations"]), f"{name}: annotations")


def dashboard_text():
    return (CHART / "files/dashboard.json").read_text()


def check_dashboard():
    dashboard = json.loads(dashboard_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expect(len(panels) > 10, "the dashboard is empty")
    ids = [panel["id"] for panel in dashboard["panels"]]
    expect(len(ids) == len(set(ids)), "two panels have one id")
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        expect(not cells & taken and place["x"] + place["w"] <= 24, f"{panel['title']}: lies on another panel")
        taken |= cells
    for panel in panels:
        expect(panel.get("description") and panel.get("targets"), f"{panel['title']}: says or asks nothing")
        expect(panel["datasource"]["uid"] == "${datasource}", f"{panel['title']}: a data source of its own")
        for target in panel["targets"]:
            expect(re.search(r"usage_ledger_|UsageLedger", target["expr"]), f"{panel['title']}: {target['expr']}")


def check_versions():
    cargo = (DEPLOY.parent / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE).group(1)
    chart = read(CHART / "Chart.yaml")
    expect(chart["version"] == chart["appVersion"] == version, f"Chart.yaml: not of version {version}")
    changes = (DEPLOY.parent / "CHANGELOG.md").read_text()
    expect(f"\n## {version}\n" in changes or "\n## Unreleased\n" in changes, f"CHANGELOG.md: nothing of {version}")


check_versions()
check_alerts()
check_dashboard()
check_refused()
for values_file in MATRIX:
    check_rendered(values_file)
for problem in problems:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
