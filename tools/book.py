#!/usr/bin/env python3
"""book.py - builds the documents as a book, and checks their links.

    python3 tools/book.py --mdbook PATH       build target/docs and check every link of it
    python3 tools/book.py --links             check the links of the Markdown files only
    python3 tools/book.py --self-test         check the checker

docs/SUMMARY.md lists the pages. They are copied to target/book with the folders of the repository, so that
a link works here and in the book. A file that a page links to is copied, too; of a link to a folder the
book has the text alone. A link to a file that does not exist, to a heading that does not exist, to a Markdown
file that is no page, and a page that loads anything from another host are errors.
"""
import argparse
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^ *(`{3,})[^\n]*\n.*?^ *\1 *$|(`+)[^`].*?\2|<!--.*?-->", re.M | re.S)
LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) +(.*?) *#* *$", re.M)
SKIPPED = {"target", "node_modules", "corpus", "grown"}
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.I)


def masked(text):
    """The text with code and comments as spaces, at the same positions."""
    return CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def without_blocks(text):
    """The text without code blocks and comments: headings may have code in them."""
    return re.sub(r"^ *(`{3,})[^\n]*\n.*?^ *\1 *$|<!--.*?-->", "", text, flags=re.M | re.S)


def anchors(text):
    """The anchors of the headings of a Markdown file."""
    found = set()
    for _, title in HEADING.findall(without_blocks(text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        slug = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", title.lower()))
        number, unique = 0, slug
        while unique in found:
            number += 1
            unique = f"{slug}-{number}"
        found.add(unique)
    return found


def links(text):
    """The links and images of a Markdown file that lead to files or headings."""
    for found in LINK.finditer(masked(text)):
        if not ELSEWHERE.match(found["target"]):
            yield found


def pages(root):
    """The pages of the book as paths in the repository, in order."""
    summary = (root / "docs/SUMMARY.md").read_text()
    return [os.path.normpath(f"docs/{found['target']}") for found in links(summary)]


def documents(root):
    """All Markdown files of the repository."""
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in SKIPPED and not name.startswith("."))
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files if name.endswith(".md")]
    return sorted(found)


def check_markdown(root, every):
    """What is wrong with the links of some Markdown files."""
    problems = []
    for page in every:
        text = (root / page).read_text()
        for found in links(text):
            path, _, anchor = unquote(found["target"]).partition("#")
            target = (root / page).parent / path if path else root / page
            line = text.count("\n", 0, found.start()) + 1
            if not target.exists():
                problems.append(f"{page}:{line}: no file {path}")
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                problems.append(f"{page}:{line}: no heading {anchor} in {path or 'this page'}")
    return problems


def stage(root, target):
    """Copies pages and what they link to; returns what cannot be in the book."""
    problems, listed = [], pages(root)
    shutil.rmtree(target, ignore_errors=True)
    source = target / "src"
    for page in listed:
        text = (root / page).read_text()
        parts, at = [], 0
        for found in links(text):
            path = unquote(found["target"]).partition("#")[0]
            linked = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            line = text.count("\n", 0, found.start()) + 1
            if (root / linked).is_dir():
                parts += [text[at : found.start()], text[slice(*found.span("text"))]]
                at = found.end()
            elif linked.endswith(".md") and linked not in listed:
                problems.append(f"{page}:{line}: {linked} is no page of docs/SUMMARY.md")
            elif not linked.endswith(".md") and (root / linked).is_file():
                (source / linked).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / linked, source / linked)
        for path in re.findall(r'\b(?:src|srcset)="([^":]+)"', text):
            loaded = os.path.normpath(os.path.join(os.path.dirname(page), path))
            if (root / loaded).is_file():
                (source / loaded).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / loaded, source / loaded)
            else:
                problems.append(f"{page}: no file {path}")
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text("".join(parts) + text[at:])
    summary = (root / "docs/SUMMARY.md").read_text()
    moved = lambda found: f"]({os.path.normpath('docs/' + found[1])})"
    (source / "SUMMARY.md").write_text(re.sub(r"\]\(([^()\s]+)\)", moved, summary))
    shutil.copy(root / "docs/book.toml", target / "book.toml")
    return problems


class Page(html.parser.HTMLParser):
    """Anchors, links and loaded files of one page of the book."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        address = attributes.get("href") or attributes.get("src")
        if address and tag == "a":
            self.links.append(address)
        elif address and tag != "base":
            self.loaded.append(address)


def check_book(folder):
    """What is wrong with the links of a built book."""
    # The page for unknown addresses is relative to the root of a web server.
    files = [path for path in sorted(folder.rglob("*.html")) if path.name != "404.html"]
    parsed = {path: Page(path.read_text()) for path in files}
    problems = []
    for path, page in parsed.items():
        where = path.relative_to(folder)
        for address in page.loaded:
            if re.match(r"(https?:)?//", address):
                problems.append(f"{where}: loads {address} from another host")
        for address in page.links + page.loaded:
            if ELSEWHERE.match(address) or address.startswith("//"):
                continue
            file, _, anchor = unquote(address).partition("#")
            target = (path.parent / file).resolve() if file else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                problems.append(f"{where}: no file {address}")
            elif anchor and target in parsed and anchor not in parsed[target].anchors:
                problems.append(f"{where}: no anchor {address}")
    return problems


def build(mdbook):
    """Builds the book; returns what is wrong with it."""
    staged, book = ROOT / "target/book", ROOT / "target/docs"
    problems = check_markdown(ROOT, sorted(set(pages(ROOT)) | {"docs/SUMMARY.md"})) + stage(ROOT, staged)
    if problems:
        return problems
    shutil.rmtree(book, ignore_errors=True)
    subprocess.run([mdbook, "build", str(staged), "--dest-dir", str(book)], check=True)
    return check_book(book)


def self_test():
    """Checks that each kind of wrong link is found, and no right one."""
    assert anchors("# A `b` c?\n## A b c\n```\n# no\n```\n") == {"a-b-c", "a-b-c-1"}
    assert [one["target"] for one in links("[a](b.md) `[c](d)` ![e](f.svg) [g](https://h) <!-- [i](j) -->")] == ["b.md", "f.svg"]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "docs/sub").mkdir(parents=True)
        (root / "src").mkdir()
        (root / "src/code.rs").write_text("")
        (root / "README.md").write_text("# Title\n[folder](src) and [code](src/code.rs)\n")
        (root / "NOTES.md").write_text("")
        (root / "docs/book.toml").write_text("")
        (root / "docs/SUMMARY.md").write_text("[Title](../README.md)\n- [Page](sub/page.md)\n")
        page = root / "docs/sub/page.md"
        page.write_text("[a](../../README.md#title) [b](#here)\n## Here\n")
        assert pages(root) == ["README.md", "docs/sub/page.md"]
        assert not check_markdown(root, pages(root)) and not stage(root, root / "book")
        assert (root / "book/src/README.md").read_text() == "# Title\nfolder and [code](src/code.rs)\n"
        assert (root / "book/src/src/code.rs").exists()
        assert "](README.md)" in (root / "book/src/SUMMARY.md").read_text()
        page.write_text("[a](none.md)\n[b](../../README.md#other)\n[c](#other)\n")
        assert [one.split(": ")[1] for one in check_markdown(root, pages(root))] == [
            "no file none.md", "no heading other in ../../README.md", "no heading other in this page"]
        page.write_text("[a](../../NOTES.md)\n")
        assert "is no page" in stage(root, root / "book")[0]
        out = root / "out"
        out.mkdir()
        (out / "a.html").write_text('<a id="x" href="b.html#y"></a><a href="#x"></a><a href="https://h/"></a>')
        (out / "b.html").write_text('<p id="y"></p><a href="c.html"></a><a href="a.html#z"></a><script src="//h/s.js"></script>')
        assert check_book(out) == [
            "b.html: loads //h/s.js from another host", "b.html: no file c.html", "b.html: no anchor a.html#z"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mdbook")
    parser.add_argument("--links", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if options.links:
        problems = check_markdown(ROOT, documents(ROOT))
    else:
        problems = build(options.mdbook)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
