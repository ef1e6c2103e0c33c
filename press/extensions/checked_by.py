"""Sphinx: a result of the book names the tests that check it, and each name opens the
test's source.

A theorem, proposition, lemma or corollary that names none, and a test that does not
exist, are warnings, which the build takes for errors. In HTML each cited file of tests
is a page of the site, so the links work offline.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx_proof.nodes import NODE_TYPES

ROOT = Path(__file__).parents[2]
RESULTS = tuple(
    NODE_TYPES[kind] for kind in ("theorem", "proposition", "lemma", "corollary")
)
LINE = "Checked numerically by"
logger = logging.getLogger(__name__)


def cited(node: nodes.Node) -> list[tuple[nodes.literal, str, str]]:
    """The literals below a node that name a test, each with its file and function."""
    return [
        (literal, *found.groups())
        for literal in node.findall(nodes.literal)
        if (found := re.fullmatch(r"(tests/[\w/]+\.py)::(\w+)", literal.astext()))
    ]


def functions(file: str) -> set[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def check(app: Sphinx, doctree: nodes.document) -> None:
    for result in doctree.findall(lambda node: isinstance(node, RESULTS)):
        if not any(
            line.astext() == LINE for line in result.findall(nodes.emphasis)
        ) or not cited(result):
            label = result.get("label") or "without a label"
            logger.warning(
                f"{label} names no test: its last line must be *{LINE}* "
                "`tests/FILE.py::TEST`",
                location=result,
            )
    for literal, file, test in cited(doctree):
        if test not in functions(file):
            logger.warning(
                f"{file}::{test} is cited and does not exist", location=literal
            )
    app.env.metadata[app.env.docname]["tests"] = [
        (file, test) for _, file, test in cited(doctree)
    ]


def page_of(file: str) -> str:
    return file.removesuffix(".py")


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Each name becomes a link. Below a result one small line has them all, so that
    the eye stays with the mathematics.
    """
    if app.builder.format != "html":
        return
    for literal, file, test in cited(doctree):
        address = app.builder.get_relative_uri(page, page_of(file)) + f"#{test}"
        paragraph = literal.parent
        marks = paragraph[0].astext() == LINE
        shown = nodes.Text(test.removeprefix("test_").replace("_", " "))
        literal.replace_self(
            nodes.reference(
                "",
                "",
                shown if marks else literal.deepcopy(),
                refuri=address,
                internal=True,
            )
        )
        if marks and "checked-by" not in paragraph["classes"]:
            paragraph["classes"].append("checked-by")


def parts(file: str, tests: set[str]) -> list[tuple[str, str]]:
    """The cited tests of a file by name and, under an empty name, what stands between
    them and is no test.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    lines, end, found = text.splitlines(), 0, []
    for node in ast.parse(text).body:
        name = getattr(node, "name", "")
        code = "\n".join(lines[end : node.end_lineno]).rstrip()
        end = node.end_lineno
        if name in tests:
            found.append((name, code.strip("\n")))
        elif not name.startswith("test_"):
            shared = found.pop()[1] + "\n" if found and not found[-1][0] else ""
            found.append(("", (shared + code).lstrip("\n")))
    return found


def pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """One page for each file with cited tests."""
    tests, highlight = defaultdict(set), app.builder.highlighter.highlight_block
    for metadata in app.env.metadata.values():
        for file, test in metadata.get("tests", []):
            tests[file].add(test)
    for file in sorted(tests):
        code = "".join(
            f'<div class="cited-test" id="{name}">{highlight(part, "python")}</div>'
            if name
            else highlight(part, "python")
            for name, part in parts(file, tests[file])
        )
        body = (
            f"<section><h1>{file}</h1><p>The tests of this file that the book cites, "
            "with what they share. "
            f"<code>make test</code> runs them, with all others.</p>{code}</section>"
        )
        yield page_of(file), {"title": file, "body": body}, "page.html"


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", check, priority=900)
    app.connect("doctree-resolved", link)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True}
