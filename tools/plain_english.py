#!/usr/bin/env python3
"""plain_english.py - finds words that are not plain technical English.

    python3 tools/plain_english.py                  check the whole tree
    python3 tools/plain_english.py src/registry     check some files or folders
    python3 tools/plain_english.py --summary PATH   findings by word and by file only
    python3 tools/plain_english.py --strings PATH   also look into every string literal
    python3 tools/plain_english.py --count          count the listed words in Rust sources
    python3 tools/plain_english.py --self-test      check the checker

Prints `file:line: word -> what to say` for each finding. Exit status 1 if there is any.
The words, what to say instead, and the exceptions are in plain_english.toml next to this
file; each entry has its reason.

Checked: names (identifiers split at `_` and capitals, file names), comments and doc
comments, log and error texts (string literals in tracing macros, `#[error]`, `bail!`,
`.context()`, `.expect()`, assertions), documents (Markdown). Not checked: code blocks, text
in backquotes, other string literals (they hold wire names and vendors' messages), data.
"""
import argparse
import collections
import fnmatch
import io
import os
import re
import sys
import tempfile
import tokenize

try:
    import tomllib
except ImportError:
    raise SystemExit("plain_english.py needs Python 3.11 or newer")

from style_stats import TOKEN, File

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "plain_english.toml")
SKIP_FOLDERS = {
    "target", ".git", ".ci", ".tools", ".switchyard", "node_modules", "corpus", "grown", "data", "cases",
}
HASH_COMMENTS = (".toml", ".yml", ".yaml", ".conf", ".service", ".env", ".sh")
HASH_NAMES = ("Makefile", "Dockerfile", "pip-env", "promtool")
TEXT_MACRO = re.compile(
    r"(?:\b(?:trace|debug|info|warn|error|bail|anyhow|ensure|panic|unreachable|assert|assert_eq"
    r"|assert_ne|debug_assert|debug_assert_eq|describe_\w+)!|#\[error|\.(?:with_)?context|\.expect)\s*\("
)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
FENCE = re.compile(r"^([ \t]*)(```|~~~).*?^[ \t]*\2[^\n]*$", re.M | re.S)
BACKQUOTED = re.compile(r"``[^`]+``|`[^`]*`|https?://\S+|\]\([^)]*\)")

# A piece of text: its kind, the line it begins on, and what it says.
Text = collections.namedtuple("Text", "kind line text")
Finding = collections.namedtuple("Finding", "path line word say")


class Word:
    """One entry of the list: a pattern, what to say instead, and where it is allowed."""

    def __init__(self, entry):
        self.find, self.say = entry["find"], entry["say"]
        self.kinds = set(entry.get("where", ["names", "comments", "logs", "docs"]))
        pattern = entry["find"].replace(" ", r"\s+")
        self.pattern = re.compile(pattern if "headers" in self.kinds else rf"\b(?:{pattern})\b", re.I)
        self.allow = [re.compile(a.replace(" ", r"\s+")) for a in entry.get("allow", [])]
        self.allow_names = [re.compile(a) for a in entry.get("allow_names", [])]
        if not entry.get("why"):
            raise SystemExit(f"{LIST}: {self.find} has no reason (why)")

    def matches(self, text):
        """The matches that no allowed context covers."""
        allowed = None
        for m in self.pattern.finditer(text):
            if allowed is None:
                allowed = [a.span() for rx in self.allow for a in rx.finditer(text)]
            if not any(s <= m.start() and m.end() <= e for s, e in allowed):
                yield m


class WordList:
    def __init__(self, table):
        self.words = [Word(e) for e in table["word"]]
        self.names = table.get("names", {})
        self.exceptions = table.get("exception", [])
        for e in self.exceptions:
            if not e.get("why"):
                raise SystemExit(f"{LIST}: the exception for {e['file']} has no reason (why)")

    def excepted(self, path, word, line_text):
        for e in self.exceptions:
            if fnmatch.fnmatch(path, e["file"]) and e.get("find", word) == word:
                if re.search(e.get("line", ""), line_text):
                    return True
        return False

    def check(self, path, texts, lines):
        """Findings in the texts of one file, in order of lines."""
        found = set()
        for text in texts:
            if text.kind == "names":
                found |= set(self.check_name(path, text))
                continue
            for word in self.words:
                if text.kind in word.kinds:
                    for m in word.matches(text.text):
                        line = text.line + text.text.count("\n", 0, m.start())
                        found.add((word.find, Finding(path, line, " ".join(m.group().split()), word.say)))
        for key, f in sorted(found, key=lambda f: (f[1].line, f[1].word)):
            if not self.excepted(path, key, lines[f.line - 1] if f.line <= len(lines) else ""):
                yield key, f

    def check_name(self, path, text):
        name = text.text
        if name in self.names:
            yield name, Finding(path, text.line, name, self.names[name])
        spaced = " ".join(p.lower() for p in PARTS.findall(name))
        for word in self.words:
            if "names" in word.kinds and word.pattern.search(spaced):
                if not any(a.fullmatch(name) for a in word.allow_names):
                    yield word.find, Finding(path, text.line, name, word.say)


def blank(text, *patterns):
    for rx in patterns:
        text = rx.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
    return text


def prose(text):
    """Text without code blocks, backquoted code and addresses; lines stay where they are."""
    return blank(text, FENCE, BACKQUOTED)


def comment_blocks(lines):
    """Joins (line, text) of comments on consecutive lines, so that phrases may wrap."""
    start, last, parts = None, None, []
    for line, text in lines + [(None, "")]:
        if parts and line != last + 1:
            yield start, "\n".join(parts)
            parts = []
        if line is not None:
            start = line if not parts else start
            more = text.split("\n")
            parts += more
            last = line + len(more) - 1


def rust_texts(file, strings):
    comments = []
    for start, end, _ in file.comment_spans:
        text = re.sub(r"(?m)^\s*(?://[/!]?|/\*[*!]?|\*/?)", "", file.text[start:end])
        comments.append((file.line(start) + 1, text))
    for line, block in comment_blocks(comments):
        yield Text("comments", line, prose(block))
    first = next((c for c in comments if file.text[file.starts[c[0] - 1]:].startswith("//!")), None)
    if first:
        yield Text("headers", first[0], first[1])
    for m in IDENTIFIER.finditer(re.sub(r'"x*"', lambda s: " " * len(s.group()), file.mask)):
        if not re.fullmatch(r"x+", m.group()):
            yield Text("names", file.line(m.start()) + 1, m.group())
    spans = [(0, len(file.text))] if strings else text_macros(file)
    for start, end in spans:
        for m in TOKEN.finditer(file.text, start, end):
            if m.lastgroup in ("str", "raw", "h") or m.group("str") or m.group("raw"):
                if strings or " " in m.group():  # one word alone is a wire name
                    yield Text("logs", file.line(m.start()) + 1, prose(m.group()))


def text_macros(file):
    for m in TEXT_MACRO.finditer(file.mask):
        depth, i = 1, m.end()
        while depth and i < len(file.mask):
            depth += (file.mask[i] == "(") - (file.mask[i] == ")")
            i += 1
        yield m.end(), i


def python_texts(source):
    comments, line_start = [], True
    for t in tokenize.generate_tokens(io.StringIO(source).readline):
        if t.type == tokenize.COMMENT:
            comments.append((t.start[0], t.string.lstrip("#")))
        elif t.type == tokenize.STRING and line_start:  # a docstring
            yield Text("comments", t.start[0], prose(t.string))
        elif t.type == tokenize.NAME:
            yield Text("names", t.start[0], t.string)
        line_start = t.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) or (
            line_start and t.type in (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING)
        )
    for line, block in comment_blocks(comments):
        yield Text("comments", line, prose(block))


def marked_comments(source, mark):
    """Comments that begin with `mark`, in files whose strings rarely contain it."""
    comments = []
    for number, line in enumerate(source.split("\n"), 1):
        m = re.search(rf"(?:^|\s)(?:{mark})(.*)$", line)
        if m and not (number == 1 and line.startswith("#!")):
            comments.append((number, m.group(1)))
    for line, block in comment_blocks(comments):
        yield Text("comments", line, prose(block))


def texts_of(path, rel, strings=False):
    """The texts of one file, and its lines; None for a kind of file that is not checked."""
    name = os.path.basename(rel)
    stem, ext = os.path.splitext(name)
    kinds = (".rs", ".md", ".py", ".mjs", ".js", ".css") + HASH_COMMENTS
    if ext not in kinds and name not in HASH_NAMES:
        return None
    if ext == ".rs":
        file = File(os.path.dirname(path) or ".", path)
        texts, source = list(rust_texts(file, strings)), file.text
    else:
        with open(path, encoding="utf-8", errors="replace") as fh:
            source = fh.read()
        if ext == ".md":
            texts = [Text("docs", 1, prose(source))]
        elif ext == ".py":
            texts = list(python_texts(source))
        else:
            texts = list(marked_comments(source, "//|/\\*" if ext in (".mjs", ".js", ".css") else "#+"))
    if ext in (".rs", ".py"):
        texts.append(Text("names", 1, stem))
    return texts, source.split("\n")


def files_under(paths):
    for path in paths:
        if os.path.isfile(path):
            yield path
        elif not os.path.exists(path):
            raise SystemExit(f"{path}: no such file or folder")
        for base, dirs, names in os.walk(path):
            dirs[:] = sorted(d for d in dirs if d not in SKIP_FOLDERS)
            for name in sorted(names):
                yield os.path.join(base, name)


def check_paths(words, paths, strings):
    for path in files_under(paths):
        rel = os.path.relpath(path).replace(os.sep, "/")
        found = texts_of(path, rel, strings)
        if found:
            yield from words.check(rel, *found)


def count(root):
    """Whole words in src/ and expr/src, comments, names and strings together."""
    rows = collections.OrderedDict(
        [("stand(s)", r"stands?"), ("tell/told", r"tells?|told"), ("hear*", r"hears?|heard|hearing"), ("gone", "gone"),
         ("anew", "anew"), ("beside", "beside"), ("trouble", "trouble"), ("nobody/whoever", "nobody|whoever")]
    )
    totals = collections.Counter()
    for path in files_under([os.path.join(root, d) for d in ("src", "expr/src")]):
        if path.endswith(".rs"):
            with open(path, encoding="utf-8") as fh:
                source = fh.read()
            for name, rx in rows.items():
                totals[name] += len(re.findall(rf"\b(?:{rx})\b", source, re.I))
    for name in rows:
        print(f"{name:16} {totals[name]:5}")


SELF_TEST_LIST = {
    "word": [
        {"find": "stands?", "say": "is stored at", "why": "test"},
        {"find": "gone", "say": "removed", "why": "test", "allow": ["410 Gone"], "allow_names": ["GONE"]},
        {"find": "given up", "say": "dead-lettered", "why": "test"},
        {"find": r"\A\s*\d\. ", "say": "no number", "why": "test", "where": ["headers"]},
    ],
    "names": {"Desk": "WorkerState"},
    "exception": [{"file": "src/old.rs", "find": "stands?", "line": "vendor", "why": "test"}],
}
SELF_TEST = [
    ("src/a.rs", "//! 2. Reads.\n", ["1 2."]),
    ("src/a.rs", "//! Reads.\n/// It stands\n/// here, given\n/// up. `it stands`\nfn f() {}\n", ["2 stands", "3 given up"]),
    ("src/a.rs", "/// ```\n/// stands\n/// ```\nfn gone_away(x: Desk) {}\n", ["4 Desk", "4 gone_away"]),
    ("src/a.rs", "// HTTP 410 Gone\nfn f() { a(StatusCode::GONE, \"gone\") }\n", []),
    ("src/a.rs", "fn f() { warn!(id = 1, \"it has gone\"); r(\"stands\") }\n", ["1 gone"]),
    ("src/a.rs", "fn f() { assert_eq!(v[\"stands\"], 1) }\n", []),
    ("src/old.rs", "// stands, says the vendor\n// stands\n", ["2 stands"]),
    ("a.md", "It stands.\n```\nstands\n```\nSee `stands`.\n", ["1 stands"]),
    ("a.py", "'''It stands.'''\nX = 'stands'  # gone\n", ["1 stands", "2 gone"]),
    ("a.toml", "x = 1 # stands\ny = 'stands'\n", ["1 stands"]),
]


def self_test():
    words, failed = WordList(SELF_TEST_LIST), 0
    for rel, source, expected in SELF_TEST:
        with tempfile.TemporaryDirectory() as root:
            path = os.path.join(root, os.path.basename(rel))
            with open(path, "w", encoding="utf-8") as fh:
                fh.write(source)
            found = [f"{f.line} {f.word}" for _, f in words.check(rel, *texts_of(path, rel))]
            if found != expected:
                failed += 1
                print(f"self-test: {source!r}: expected {expected}, found {found}", file=sys.stderr)
    return 1 if failed else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("paths", nargs="*", metavar="PATH", default=["."])
    ap.add_argument("--list", default=LIST, metavar="FILE", help="another word list")
    ap.add_argument("--summary", action="store_true", help="totals only")
    ap.add_argument("--strings", action="store_true", help="check every string literal, too")
    ap.add_argument("--count", action="store_true", help="count the words of the vocabulary")
    ap.add_argument("--self-test", action="store_true")
    a = ap.parse_args()
    if a.self_test:
        return self_test()
    if a.count:
        count(a.paths[0])
        return 0
    with open(a.list, "rb") as fh:
        words = WordList(tomllib.load(fh))
    by_word, by_file = collections.Counter(), collections.Counter()
    for key, f in check_paths(words, a.paths, a.strings):
        by_word[key] += 1
        by_file[f.path] += 1
        if not a.summary:
            print(f"{f.path}:{f.line}: {f.word} -> {f.say}")
    if a.summary:
        for title, totals in (("by word", by_word), ("by file", by_file)):
            print(f"# {title}")
            for name, n in totals.most_common():
                print(f"{n:5} {name}")
    total = sum(by_word.values())
    if total:
        print(f"{total} findings; the list is {os.path.relpath(a.list)}", file=sys.stderr)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
