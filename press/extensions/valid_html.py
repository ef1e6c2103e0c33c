"""Sphinx: what the writers of pages set against the rules of HTML is mended.

A summary holds no paragraphs, a caption no caption, and a name is given once: MyST-NB,
Docutils and the extensions for proofs and exercises differ. book.css has the looks that
hung on it.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

MENDED = (
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    (
        re.compile(r'<p class="(collapsed|expanded) admonition-title">(.*?)</p>'),
        r'<span class="\1 admonition-title">\2</span>',
    ),
    (re.compile(r'<figcaption>\s*(?=<div class="legend">)'), ""),
    (re.compile(r' id="(?:proof|exercise|solution)-content"'), ""),
    (re.compile(r'class="proof admonition" id="proof"'), 'class="proof admonition"'),
)


def mend(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    for wrong, right in MENDED:
        context["body"] = wrong.sub(right, context.get("body", ""))


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True}
