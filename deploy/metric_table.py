"""Reads the table of metric families, src/telemetry/names/families.rs. Standard library only."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Family:
    """A metric: its kind, its help text and its labels, each with its values, or None if they are open."""

    def __init__(self, kind, help_text, labels):
        self.kind, self.help, self.labels = kind, help_text, labels


def families():
    """Metric name -> its family, from the table of all families."""
    source = (ROOT / "src/telemetry/names/families.rs").read_text()
    strings = re.compile(r'"([^"]*)"')
    sets = dict(re.findall(r"const (\w+): &\[&str\]\s*=\s*&\[(.*?)\];", source, re.S))
    starts = list(re.finditer(r'\b(counter|gauge|histogram)\(\s*"(switchyard_\w+)",', source))
    label = re.compile(r'\b(closed|tied|open)\(\s*"(\w+)",\s*(&\[.*?\]|[^)]*?)\s*,?\s*\)', re.S)
    subscription = re.search(r"const SUBSCRIPTION: .*?;", source, re.S)[0]
    found = {}
    for start, end in zip(starts, starts[1:] + [None]):
        row = source[start.end():end.start() if end else None]
        row = row.split("\n];")[0]
        of = subscription if row.lstrip().startswith("SUBSCRIPTION") else row
        labels = {}
        for kind, name, values in label.findall(of):
            text = values if values.startswith("&") else sets.get(values, "")
            labels[name] = None if kind == "open" else set(strings.findall(text))
        found[start[2]] = Family(start[1], strings.findall(label.sub("", row))[0], labels)
    return found


def series_of(found):
    """Series name -> labels with their values, with the series of histograms."""
    known = {}
    for name, family in found.items():
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        known.update({name + suffix: family.labels for suffix in suffixes})
    return known
