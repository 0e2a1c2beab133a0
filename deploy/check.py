#!/usr/bin/env python3
"""Checks the files under deploy/ against the router.

- every expression in rules and dashboards is PromQL;
- every metric, label and label value in them is defined in src/telemetry/names/families.rs;
- every alert has a section in docs/runbook.md, and every other section there says that it is no alert;
- the runbook names only metrics, reasons and other label values of that table, other documents only its metrics;
- every SWITCHYARD_* variable in deploy/ sets a key of switchyard.default.toml.

Offline; run by `make check-deploy`.
"""

import json
import re
import sys
from pathlib import Path

import promql_parser
from ruamel.yaml import YAML

from metric_table import families, series_of

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
# Labels that every target has, or that a histogram's series have.
COMMON_LABELS = {"job", "instance", "le"}
# The token has a short name of its own, see src/config/; the other one explains the rule.
EXCEPTIONS = {"SWITCHYARD_ADMIN_TOKEN", "SWITCHYARD_SECTION__KEY"}

problems = []


def check_matcher(where, name, labels, matcher):
    label, operator, text = matcher
    if label in COMMON_LABELS:
        return
    if label not in labels:
        problems.append(f"{where}: {name} has no label {label}")
        return
    values = labels[label]
    # Variables of dashboards, and patterns, are no values.
    chosen = text.split("|") if "~" in operator else [text]
    for value in chosen:
        if values is not None and re.fullmatch(r"\w+", value) and value not in values:
            problems.append(f"{where}: nothing sets {label}={value} of {name}")


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
        for matcher in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"(.*?)"', matchers):
            check_matcher(where, name, known[name], matcher)
    labels = {label for name in re.findall(selector, expression) for label in known.get(name[0]) or ()}
    for group in re.findall(r"\b(?:by|without)\s*\((.*?)\)", expression):
        for label in filter(None, re.split(r"[\s,]+", group)):
            if label not in labels | COMMON_LABELS:
                problems.append(f"{where}: nothing here has a label {label}")


def check_rules(known):
    groups = YAML(typ="safe").load(DEPLOY / "prometheus/rules.yml")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = known | {rule["record"]: {} for rule in rules if "record" in rule}
    runbook = (ROOT / "docs/runbook.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=^## |\Z)", runbook, re.M | re.S))
    for rule in rules:
        name = rule.get("alert") or rule["record"]
        check_expression(f"rules.yml, {name}", rule["expr"], known)
        if "alert" in rule:
            if name not in sections:
                problems.append(f"docs/runbook.md: no section for the alert {name}")
            if rule["annotations"]["runbook"] != f"docs/runbook.md#{name.lower()}":
                problems.append(f"rules.yml, {name}: the runbook link leads elsewhere")
    alerts = {rule["alert"]: rule["expr"] for rule in rules if "alert" in rule}
    for name, text in sections.items():
        if name not in alerts and not text.startswith("Not an alert"):
            problems.append(f"docs/runbook.md, {name}: no such alert; such a section begins with: Not an alert")
        check_section(name, text, alerts.get(name, ""), known)


def check_section(section, text, expression, known):
    """Metrics that a section names exist, and so do the values of their labels."""
    where = f"docs/runbook.md, {section}"
    named = set(re.findall(r"\bswitchyard_\w+", text + expression))
    for name in sorted(named - known.keys()):
        if f"{name}_count" not in known:
            problems.append(f"{where}: no metric {name}")
    labels = {}
    for name in named & known.keys():
        for label, values in known[name].items():
            if values is not None:
                labels.setdefault(label, set()).update(values)
    every = set().union(*labels.values())
    if expression and every:
        # "`timeout`: the broker is overloaded": what the alert names, and what to do.
        for value in re.findall(r"`([a-z0-9_]+)`:", text):
            if value not in every and value not in labels and value not in named:
                problems.append(f"{where}: no label of the metrics named here has the value {value}")
    for head, rows in re.findall(r"^\|([^|]*)\|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M):
        label = re.match(r"\s*`?(\w+)`?", head)
        if not label or label[1] not in labels:
            continue
        for row in rows.splitlines():
            for value in re.findall(r"`([\w*]+)`", row.split("|")[1]):
                pattern = re.compile(re.escape(value).replace(r"\*", r"\w+"))
                if not any(pattern.fullmatch(known_value) for known_value in labels[label[1]]):
                    problems.append(f"{where}: nothing sets {label[1]}={value}")


def check_documents(known):
    """Metrics that a document names exist."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(DEPLOY.rglob("*.md"))]:
        for name in sorted(set(re.findall(r"`(switchyard_\w+)", path.read_text()))):
            if name not in known and f"{name}_count" not in known:
                problems.append(f"{path.relative_to(ROOT)}: no metric {name}")


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
    known = series_of(families())
    check_rules(known)
    check_dashboards(known)
    check_documents(known)
    check_variables()
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"deploy: {len(known)} series names known, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
