"""Sphinx: in each section the first use of a term carries its definition, shown on
hover, focus and tap.

The terms are those of the glossary on the page of notation. Only running text is
marked: no heading, link, code, formula or caption. In other formats than HTML the text
stays as it is.
"""

import html
import re
from collections.abc import Iterator
from itertools import count

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "notation"
RUNNING = (nodes.paragraph, nodes.emphasis, nodes.strong)


def glossary(app: Sphinx) -> dict[str, str]:
    """Definitions by term, in lower case."""
    if GLOSSARY not in app.env.found_docs:
        return {}
    items = [
        item
        for listed in app.env.get_doctree(GLOSSARY).findall(addnodes.glossary)
        for item in listed.findall(nodes.definition_list_item)
    ]
    return {
        term.astext().lower(): " ".join(item[-1].astext().split())
        for item in items
        for term in item.findall(nodes.term)
    }


def running_text(doctree: nodes.document) -> Iterator[nodes.Text]:
    for text in list(doctree.findall(nodes.Text)):
        above = text.parent
        while isinstance(above, RUNNING) and not isinstance(above, nodes.paragraph):
            above = above.parent
        if isinstance(above, nodes.paragraph) and not isinstance(
            above.parent, nodes.citation
        ):
            yield text


def section_of(node: nodes.Node) -> nodes.Node:
    while not isinstance(node, nodes.section | nodes.document):
        node = node.parent
    return node


def mark(app: Sphinx, doctree: nodes.document, page: str) -> None:
    definitions = glossary(app)
    if app.builder.format != "html" or page == GLOSSARY or not definitions:
        return
    longest_first = "|".join(map(re.escape, sorted(definitions, key=len, reverse=True)))
    pattern = re.compile(rf"\b({longest_first})s?\b", re.IGNORECASE)
    seen, number = set(), count(1)
    for text in running_text(doctree):
        parts, end, said = [], 0, text.astext()
        for found in pattern.finditer(said):
            key = (id(section_of(text)), found[1].lower())
            if key not in seen:
                seen.add(key)
                parts += [
                    nodes.Text(said[end : found.start()]),
                    marked(
                        found[0],
                        definitions[found[1].lower()],
                        f"definition-{next(number)}",
                    ),
                ]
                end = found.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(said[end:])])


def marked(text: str, definition: str, name: str) -> nodes.raw:
    tip = (
        '<span class="definition" role="tooltip" '
        f'id="{name}">{html.escape(definition)}</span>'
    )
    mark = (
        '<span class="term" tabindex="0" '
        f'aria-describedby="{name}">{html.escape(text)}{tip}</span>'
    )
    return nodes.raw("", mark, format="html")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", mark)
    return {"parallel_read_safe": True}
