"""Sphinx: a chapter's parameters are folded, and so are those of a fast build."""

import json

from sphinx.application import Sphinx

PARAMETERS = {"parameters", "injected-parameters"}


def fold(app: Sphinx, page: str, source: list[str]) -> None:
    if not app.env.doc2path(page).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        if PARAMETERS & set(tags):
            cell["metadata"]["tags"] = sorted({*tags, "hide-input"})
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> dict:
    app.connect("source-read", fold)
    return {"parallel_read_safe": True}
