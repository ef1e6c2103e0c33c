"""Sphinx: in the code of chapters each function, class and module of the package is a
link to its entry in the reference.

A name is the package's where a cell of the page imports it, in that cell and all
others. sphinx-codeautolink would link methods too; it takes a third longer over the
whole build, and stops at sections without a title, as results and exercises have them.
"""

import ast
import re
from importlib import import_module

from docutils import nodes
from sphinx.application import Sphinx

PACKAGE = "agent_dynamics"
BLOCK = re.compile(r'<div class="highlight-ipython3 .*?</pre>', re.DOTALL)
# Neither an attribute nor the keyword of an argument, which stands close to its sign.
NAME = re.compile(
    r'(?<!<span class="o">\.</span>)(<span class="nn?">)([\w.]+)(</span>)'
    r'(?!<span class="o">=</span>)'
)


def imported(doctree: nodes.document) -> dict[str, str]:
    """What the page's cells import of the package: full names by the names used."""
    names = {}
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == "ipython3":
            for node in ast.walk(ast.parse(block.astext())):
                module = getattr(node, "module", None) or ""
                if module.partition(".")[0] == PACKAGE:
                    names[module] = module
                    for alias in node.names:
                        names[alias.asname or alias.name] = f"{module}.{alias.name}"
    return names


def home(name: str) -> str:
    """The full name of what a subpackage offers under a name of its own."""
    module, _, short = name.rpartition(".")
    meant = getattr(import_module(module), short, None)
    return f"{getattr(meant, '__module__', '')}.{getattr(meant, '__qualname__', '')}"


def link(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    if doctree is None:
        return
    entries = app.env.domains["py"].objects
    addresses = {}
    for used, name in imported(doctree).items():
        if entry := entries.get(name) or entries.get(home(name)):
            there = app.builder.get_relative_uri(page, entry.docname)
            addresses[used] = f"{there}#{entry.node_id}"

    def linked(found: re.Match) -> str:
        opening, name, closing = found.groups()
        if name not in addresses:
            return found[0]
        return f'{opening}<a href="{addresses[name]}">{name}</a>{closing}'

    if addresses:
        context["body"] = BLOCK.sub(
            lambda block: NAME.sub(linked, block[0]), context["body"]
        )


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True}
