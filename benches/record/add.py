#!/usr/bin/env python3
"""Inserts the figures of a run at the top of the record of its subject.

    add.py FILE...

A bench writes FILE, such as target/record/pipeline.md; the record is the file of the same name in
this folder. The new section has the date of the run as its title and comes before the earlier ones.
"""

import re
import sys
from pathlib import Path

RECORDS = Path(__file__).resolve().parent


def section(figures):
    """The figures as a section: their title line is replaced by the date, other titles move down."""
    day = re.search(r"\d{4}-\d\d-\d\d", figures)[0]
    body = re.sub(r"\A#[^\n]*\n+", "", figures)
    body = re.sub(r"^(#+ )", r"#\1", body, flags=re.MULTILINE)
    return f"## {day}\n\n{body.strip()}\n\n"


def main():
    for name in sys.argv[1:]:
        run = Path(name)
        record = RECORDS / run.name
        text = record.read_text()
        start = text.index("\n## ") + 1
        record.write_text(text[:start] + section(run.read_text()) + text[start:])
        print(f"added to {record.relative_to(RECORDS.parent.parent)}")


if __name__ == "__main__":
    main()
