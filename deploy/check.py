#!/usr/bin/env python3
"""Checks the files under deploy/ against the router.

- every expression in rules and dashboards is PromQL;
- every metric and every label in them is defined in src/telemetry/names.rs;
- every alert has a section in docs/runbook.md;
- every SWITCHYARD_* variable in deploy/ sets a key of switchyard.default.toml.

Offline; run by `make check-deploy`.
"""

import json
import re
import sys
from pathlib import Path

import promql_parser
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
# Labels that every target has, or that a histogram's series have.
COMMON_LABELS = {"job", "instance", "le"}
# The token has a short name of its own, see src/config/; the other one explains the rule.
EXCEPTIONS = {"SWITCHYARD_ADMIN_TOKEN", "SWITCHYARD_SECTION__KEY"}

problems = []


def families():
    """Metric name -> its labels, from the table in names.rs, with the series of histograms."""
    source = (ROOT / "src/telemetry/names.rs").read_text()
    subscription = re.search(r"const SUBSCRIPTION: .*?=\s*&\[(.*?)\]", source)[1]
    known = {}
    row = r'\b(counter|gauge|histogram)\(\s*"(switchyard_\w+)",\s*(?:&\[(.*?)\]|SUBSCRIPTION),'
    for kind, name, labels in re.findall(row, source):
        if name.startswith("switchyard_subscription_"):
            labels = subscription
        names = set(re.findall(r'"(\w+)"', labels))
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known.update({name + suffix: names for suffix in suffixes})
    return known


def check_expression(where, expression, known):
    # Grafana fills these in; any duration and any text parse alike.
    expression = re.sub(r"\$__(rate_interval|interval|range)\b", "5m", expression)
    try:
        promql_parser.parse(expression)
    except Exception as error:
        problems.append(f"{where}: {error}\n    {expression}")
        return
    selector = r"\b(switchyard[\w:]+)(?:\{(.*?)\})?"
    for name, matchers in re.findall(selector, expression):
        if name not in known:
            problems.append(f"{where}: no metric {name}")
            continue
        for label in re.findall(r'(\w+)\s*[=!]~?\s*"', matchers):
            if known[name] is not None and label not in known[name] | COMMON_LABELS:
                problems.append(f"{where}: {name} has no label {label}")
    labels = {label for name in re.findall(selector, expression) for label in known.get(name[0]) or ()}
    for group in re.findall(r"\b(?:by|without)\s*\((.*?)\)", expression):
        for label in filter(None, re.split(r"[\s,]+", group)):
            if label not in labels | COMMON_LABELS:
                problems.append(f"{where}: nothing here has a label {label}")


def check_rules(known):
    groups = YAML(typ="safe").load(DEPLOY / "prometheus/rules.yml")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = known | {rule["record"]: None for rule in rules if "record" in rule}
    runbook = (ROOT / "docs/runbook.md").read_text()
    for rule in rules:
        name = rule.get("alert") or rule["record"]
        check_expression(f"rules.yml, {name}", rule["expr"], known)
        if "alert" in rule:
            if f"\n## {name}\n" not in runbook:
                problems.append(f"docs/runbook.md: no section for the alert {name}")
            if rule["annotations"]["runbook"] != f"docs/runbook.md#{name.lower()}":
                problems.append(f"rules.yml, {name}: the runbook link leads elsewhere")


def check_dashboards(known):
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                check_expression(f"{path.name}, {panel['title']}", target["expr"], known)
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                selector = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
                check_expression(f"{path.name}, ${variable['name']}", selector[1], known)


def check_variables():
    keys = set()
    section = ""
    for line in (DEPLOY / "switchyard.default.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[([\w.]+)\]", line.strip()):
            section = header[1].replace(".", "__")
        elif key := re.match(r"(\w+)\s*=", line):
            keys.add(f"SWITCHYARD_{section}__{key[1]}".upper())
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".json"}:
            for name in set(re.findall(r"\bSWITCHYARD_[A-Z0-9_]*[A-Z0-9]\b", path.read_text())):
                if name not in keys | EXCEPTIONS:
                    problems.append(f"{path.relative_to(ROOT)}: {name} sets no key")


def main():
    known = families()
    check_rules(known)
    check_dashboards(known)
    check_variables()
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"deploy: {len(known)} series names known, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
