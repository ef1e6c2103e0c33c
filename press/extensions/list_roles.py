"""Sphinx: the bibliography is a list of list items. Docutils gives its entries a role
that no list may hold.
"""

from docutils import nodes
from sphinx.application import Sphinx


def mend(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    if doctree is not None:
        context["body"] = context["body"].replace(
            'role="doc-biblioentry"', 'role="listitem"'
        )


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True}
