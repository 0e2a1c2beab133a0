#!/usr/bin/env python3
"""import_circles.py - import circles between the files of a Rust crate.

    python3 tools/import_circles.py                     every circle of src/ and expr/src
    python3 tools/import_circles.py src/registry        only circles that touch this folder
    python3 tools/import_circles.py --root DIR          another tree
    python3 tools/import_circles.py --imports FILE      what FILE imports, and who imports it
    python3 tools/import_circles.py --self-test         check the checker

Prints each circle (a strongly connected component of the import graph of one crate) with
the folder it spans and one line of code for each arrow, and each `mod.rs` that defines
anything: it holds the folder's header and re-exports. Exit status 1 if there is any.

A node is a file that defines something. A file that only declares modules and re-exports
is none: an import through a re-export counts as an import of the file that defines the
item. Imports are `use` trees and paths in code (`crate::`, `super::`, `self::`, names of
child modules, names imported by `use`, globs). `mod` declarations do not count, test code
does not count. The check is lexical: macros are not expanded, and a path to an item that
a macro defines counts as an import of the module that the path names.
"""
import argparse
import collections
import os
import re
import sys
import tempfile

from style_stats import load

CRATES = ("src", "expr/src")
WORD = re.compile(r"\b[A-Za-z_]\w*\b")
VIS = r"(?:pub(?:\s*\([^)]*\))?\s+)?"
CFG_TEST = re.compile(r"#\[cfg\((?:test|(?:all|any)\([^\]]*\btest\b[^\]]*\))\)\]")
MOD = re.compile(r"\b" + VIS + r"mod\s+(\w+)\s*([;{])")
USE = re.compile(r"(?P<vis>\bpub(?:\s*\([^)]*\))?\s+)?(?<![\w:])use\s+(?P<tree>[^;]+);")
PUB_IN = re.compile(r"\bpub\s*\([^)]*\)")
ITEM = re.compile(
    r"(?:\b(?:fn|struct|enum|trait|type|const|static|union)\s+(?!(?:fn|unsafe|async|mut)\b)|\bmacro_rules!\s*)([A-Za-z_]\w*)"
)
PATH = re.compile(r"(?<![\w:.])([A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)+)")

# One import: where it is written, and the path or (for a glob) the name found through it.
Import = collections.namedtuple("Import", "offset path")


class Module:
    """A module of the crate: the items it defines, its children and what it imports."""

    def __init__(self, path, file):
        self.path, self.file = path, file
        self.items, self.children = set(), {}
        self.uses, self.globs = {}, []  # name -> path; paths
        self.paths, self.words = [], set()  # Imports; words of the code, for globs
        self.defines = False

    def add_use(self, path, alias, offset, reexport):
        """A re-export is no import of this file, unless its code uses the name."""
        if alias == "*":
            self.globs.append(Import(offset, path))
            return
        if alias != "_":
            self.uses[alias] = path
        if not reexport or any(word == alias for word, _ in self.words):
            self.paths.append(Import(offset, path))


def use_leaves(tree):
    """(path, alias) of each leaf of a `use` tree; the alias of a glob is `*`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = re.sub(r"\s+as\s+", "@", tree).partition("@")
        parts = [p.strip() for p in path.split("::") if p.strip()]
        if parts and parts[-1] == "self":
            parts.pop()
        if parts and parts[-1] == "*":
            yield parts[:-1], "*"
        elif parts:
            yield parts, alias.strip() or parts[-1]
        return
    prefix = [p.strip() for p in tree[:brace].split("::") if p.strip()]
    depth, start, body = 0, brace + 1, tree[: tree.rfind("}")]
    for i in range(brace + 1, len(body) + 1):
        c = body[i] if i < len(body) else ","
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            for path, alias in use_leaves(body[start:i]) if body[start:i].strip() else ():
                yield prefix + path, alias if path else prefix[-1]
            if body[start:i].strip() == "self":
                yield prefix, prefix[-1]
            start = i + 1


def without_tests(file):
    """The file's code with comments, strings and test code blanked."""
    lines = file.mask.split("\n")
    for line in file.test_lines:
        lines[line] = " " * len(lines[line])
    text = "\n".join(lines)
    for m in list(CFG_TEST.finditer(text)):
        end = item_end(file, text, m.end())
        text = text[: m.start()] + re.sub(r"[^\n]", " ", text[m.start():end]) + text[end:]
    return text


def item_end(file, text, at):
    """End of the item that begins at `at`: its `;` or its closing brace."""
    depth = 0
    for i in range(at, len(text)):
        c = text[i]
        depth += (c in "([") - (c in ")]")
        if depth == 0 and c == ";":
            return i + 1
        if depth == 0 and c == "{":
            end = file.pair.get(i, i) + 1
            is_use = re.match(r"\s*" + VIS + r"use\b", text[at:i])
            return text.find(";", end) + 1 if is_use else end
    return len(text)


class Crate:
    """The module tree of one crate and the imports between its files."""

    def __init__(self, files, base):
        self.modules = {}
        self.by_rel = {f.rel: f for f in files if f.rel.startswith(base + "/")}
        root = self.by_rel.get(base + "/lib.rs") or self.by_rel.get(base + "/main.rs")
        self.root = root and self.read_file((), root)

    def read_file(self, path, file):
        text = without_tests(file)
        return self.read_module(path, file, text, 0, len(text))

    def read_module(self, path, file, text, start, end):
        module = self.modules[path] = Module(path, file)
        shallow = list(text[start:end])
        at = start
        for opening in sorted(p for p in file.pair if start <= p < end):
            if opening >= at:  # blank the bodies at this level
                at = file.pair[opening] + 1
                for i in range(opening + 1, at - 1):
                    shallow[i - start] = " " if shallow[i - start] != "\n" else "\n"
        shallow = "".join(shallow)
        deep = list(text[start:end])
        for m in MOD.finditer(shallow):
            name = m.group(1)
            if m.group(2) == "{":
                opening = start + m.end() - 1
                closing = file.pair.get(opening, end)
                child = self.read_module(path + (name,), file, text, opening + 1, closing)
                for i in range(opening - start, closing - start):
                    deep[i] = " " if deep[i] != "\n" else "\n"
            else:
                child = self.read_child(path, file, name)
            if child:
                module.children[name] = child
        self.read_body(module, shallow, "".join(deep), start)
        return module

    def read_child(self, path, file, name):
        folder, stem = os.path.dirname(file.rel), os.path.basename(file.rel)[:-3]
        inner = folder if stem in ("mod", "lib", "main") else f"{folder}/{stem}"
        for rel in (f"{inner}/{name}.rs", f"{inner}/{name}/mod.rs"):
            if rel in self.by_rel:
                return self.read_file(path + (name,), self.by_rel[rel])
        return None

    def read_body(self, module, shallow, deep, start):
        module.items = {m.group(1) for m in ITEM.finditer(shallow)}
        code = USE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), deep)
        code = MOD.sub(lambda m: " " * len(m.group()), code)
        code = PUB_IN.sub(lambda m: " " * len(m.group()), code)
        module.defines = bool(re.search(r"\b(?:fn|struct|enum|trait|type|const|static|impl)\b|!", re.sub(r"#!?\[[^\]]*\]", "", code)))
        for m in WORD.finditer(code):
            module.words.add((m.group(), start + m.start()))
        for m in USE.finditer(deep):
            for path, alias in use_leaves(m.group("tree")):
                offset = start + m.start() + max(0, m.group().find(alias))
                module.add_use(path, alias, offset, reexport=bool(m.group("vis")))
        for m in PATH.finditer(code):
            path = [p.strip() for p in m.group(1).split("::")]
            module.paths.append(Import(start + m.start(), path))

    def resolve(self, module, path, seen=frozenset()):
        """What `path` names, seen from `module`: a Module, (Module, item) or None."""
        if not path:
            return module
        head, rest = path[0], path[1:]
        if head == "crate":
            return self.walk(self.root, rest, seen)
        if head == "self":
            return self.walk(module, rest, seen)
        if head == "super":
            parent = self.modules.get(module.path[:-1])
            return self.resolve(parent, ["self"] + rest, seen) if rest[:1] != ["super"] else self.resolve(parent, rest, seen)
        return self.walk(module, path, seen, local=True)

    def walk(self, module, path, seen, local=False):
        if not path:
            return module
        name, rest = path[0], path[1:]
        if (module.path, name, len(rest)) in seen:
            return None
        seen = seen | {(module.path, name, len(rest))}
        if name in module.items and not (rest and name in module.children):
            return module, name
        if name in module.children:
            return self.walk(module.children[name], rest, seen)
        if name in module.uses:
            found = self.resolve(module, module.uses[name], seen)
            return self.walk(found, rest, seen) if isinstance(found, Module) else found
        for glob in module.globs:
            found = self.resolve(module, glob.path, seen)
            if isinstance(found, Module):
                hit = self.walk(found, path, seen, local=True)
                if hit:
                    return hit
        # A name that a macro defines, if the path says which module it is in.
        return None if local or not module.defines else (module, name)

    def edges(self):
        """file -> {file it imports: (offset, name)}, the first place of each."""
        graph = collections.defaultdict(dict)
        for module in self.modules.values():
            if not module.defines:
                continue
            targets = graph[module.file]
            for offset, found in self.imports(module):
                owner = found if isinstance(found, Module) else found[0]
                if owner.defines and owner.file is not module.file:
                    name = "mod" if owner is found else found[1]
                    if owner.file not in targets or offset < targets[owner.file][0]:
                        targets[owner.file] = (offset, name)
        return graph

    def imports(self, module):
        for entry in module.paths:
            found = self.resolve(module, entry.path)
            if found and found is not module:
                yield entry.offset, found
        for glob in module.globs:
            found = self.resolve(module, glob.path)
            if isinstance(found, tuple):  # the variants of an enum
                yield glob.offset, found
            elif found:
                for word, offset in module.words:
                    if word not in module.items and word not in module.uses:
                        hit = self.walk(found, [word], frozenset(), local=True)
                        if isinstance(hit, tuple):
                            yield offset, hit


def components(graph):
    """Strongly connected components of two files or more (Tarjan, without recursion)."""
    index, low, stack, on_stack, out = {}, {}, [], set(), []
    for root in sorted(graph, key=lambda f: f.rel):
        if root in index:
            continue
        work = [(root, iter(sorted(graph[root], key=lambda f: f.rel)))]
        index[root] = low[root] = len(index)
        stack.append(root), on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target), on_stack.add(target)
                    work.append((target, iter(sorted(graph.get(target, ()), key=lambda f: f.rel))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while not part or part[-1] is not node:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                    if len(part) > 1:
                        out.append(sorted(part, key=lambda f: f.rel))
    return out


def report(graph, circle):
    folder = os.path.commonpath([os.path.dirname(f.rel) for f in circle])
    lines = [f"circle of {len(circle)} files in {folder}/: " + " ".join(os.path.relpath(f.rel, folder) for f in circle)]
    for source in circle:
        for target in circle:
            if target in graph[source]:
                offset, name = graph[source][target]
                where = f"{source.rel}:{source.line(offset) + 1}"
                lines.append(f"  {where} -> {target.rel} ({name})")
    return "\n".join(lines)


def findings(root, folders):
    """(text of each circle and `mod.rs` with logic that touches one of the folders, all graphs)."""
    files = load(root, [c for c in CRATES if os.path.isdir(os.path.join(root, c))])
    found, graphs = [], []
    for base in CRATES:
        graph = Crate(files, base).edges() if any(f.rel.startswith(base + "/") for f in files) else {}
        graphs.append(graph)
        for circle in components(graph):
            if not folders or any(is_in(f, folders) for f in circle):
                found.append(report(graph, circle))
        found += [f"{f.rel}: a mod.rs only declares and re-exports; this one defines something"
                  for f in graph if f.rel.endswith("/mod.rs") and (not folders or is_in(f, folders))]
    return found, graphs


def is_in(file, folders):
    return any(file.rel == folder or file.rel.startswith(folder + "/") for folder in folders)


def print_imports(graphs, rel):
    for graph in graphs:
        for source, targets in sorted(graph.items(), key=lambda e: e[0].rel):
            for target, (offset, name) in sorted(targets.items(), key=lambda e: e[0].rel):
                if rel in (source.rel, target.rel):
                    print(f"{source.rel}:{source.line(offset) + 1} -> {target.rel} ({name})")


SELF_TEST = [
    # (what is tested, files, files of each circle found)
    ("use lists with nesting, through a re-export", {
        "lib.rs": "mod a; mod b;",
        "a/mod.rs": "mod one; mod two; pub use one::One;",
        "a/one.rs": "use super::{two::{Two as T}}; pub struct One(T);",
        "a/two.rs": "use crate::a::{One}; pub struct Two; fn f(_: One) {}",
        "b.rs": "use crate::a::One; fn g(_: One) {}",
    }, ["a/one.rs a/two.rs"]),
    ("an inline path and a glob", {
        "lib.rs": "mod a;",
        "a.rs": "mod one; mod two;",
        "a/one.rs": "pub fn f() { super::two::g() }",
        "a/two.rs": "use super::one::*; pub fn g() { f() }",
    }, ["a/one.rs a/two.rs"]),
    ("a parent with logic and its child", {
        "lib.rs": "mod a;",
        "a.rs": "mod one; pub struct A; fn f() { one::g() }",
        "a/one.rs": "pub fn g() { let _: super::A; }",
    }, ["a.rs a/one.rs"]),
    ("a circle across folders", {
        "lib.rs": "mod a; mod b;",
        "a/mod.rs": "pub mod one;", "a/one.rs": "use crate::b::two; pub struct A(two::B);",
        "b/mod.rs": "pub mod two;", "b/two.rs": "use crate::a::one::A; pub struct B; fn f(_: A) {}",
    }, ["a/one.rs b/two.rs"]),
    ("test code, comments and strings do not count", {
        "lib.rs": "mod a; mod b;",
        "a.rs": "use crate::b::B; pub struct A(B);",
        "b.rs": "// crate::a::A\npub struct B; const S: &str = \"crate::a::A\";\n"
                "#[cfg(test)] use crate::a::A;\n#[cfg(test)] mod tests;\n"
                "#[cfg(test)] mod more { use crate::a::A; }\n#[cfg(test)] fn f() { crate::a::A; }",
        "b/tests.rs": "use crate::a::A;",
    }, []),
    ("a file named test.rs that is no test", {
        "lib.rs": "mod a; mod test;",
        "a.rs": "pub const fn f() { crate::test::g() }", "test.rs": "pub fn g() { crate::a::f() }",
    }, ["a.rs test.rs"]),
    ("the visibility of an item is no import", {
        "lib.rs": "mod a;", "a.rs": "mod one; pub struct A; fn f() { one::g() }",
        "a/one.rs": "pub(in crate::a) fn g() {}",
    }, []),
    ("a re-export is an import only if the file uses the name itself", {
        "lib.rs": "mod a; mod b;",
        "a.rs": "mod one; pub use one::One; pub struct A;", "a/one.rs": "pub struct One(super::A);",
        "b.rs": "mod two; pub use two::Two; pub struct B; fn f(_: Two) {}", "b/two.rs": "pub struct Two(super::B);",
    }, ["b.rs b/two.rs"]),
    ("imports that go one way", {
        "lib.rs": "mod a; pub use a::A;",
        "a.rs": "mod one; pub use one::A; pub(crate) use one::B as C;",
        "a/one.rs": "mod deep; pub struct A; pub struct B; const fn f() { deep::g() }",
        "a/one/deep.rs": "use std::fmt; pub fn g() {}",
    }, []),
]


def self_test():
    failed = 0
    for what, files, expected in SELF_TEST:
        with tempfile.TemporaryDirectory() as root:
            for rel, text in files.items():
                path = os.path.join(root, "src", rel)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as fh:
                    fh.write(text)
            graph = Crate(load(root, ["src"]), "src").edges()
            found = [" ".join(f.rel[len("src/"):] for f in c) for c in components(graph)]
            if found != expected:
                failed += 1
                print(f"self-test: {what}: expected {expected}, found {found}", file=sys.stderr)
    return 1 if failed else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folders", nargs="*", metavar="FOLDER")
    ap.add_argument("--root", default=".", help="the tree that holds src/ and expr/src")
    ap.add_argument("--imports", metavar="FILE", help="list the imports of and from FILE")
    ap.add_argument("--self-test", action="store_true")
    a = ap.parse_args()
    if a.self_test:
        return self_test()
    found, graphs = findings(a.root, [d.rstrip("/") for d in a.folders])
    if a.imports:
        print_imports(graphs, a.imports)
        return 0
    print("\n".join(found) or "no import circles, no logic in mod.rs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
