"""Sphinx: the notebook that a reader downloads from a page is plain Markdown and
installs what it needs. Its links lead to the published site, where the build knows it.
"""

from pathlib import Path

import nbformat
from sphinx.application import Sphinx

from files import wheel
from plain_markdown import Plain, targets
from plain_notebook import download
from publication import address


def published(page: str) -> str | None:
    return f"{address()}{page}.html" if address() else None


def write(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    plain = Plain(targets(), published)
    for path in Path(app.outdir).glob("_sources/*.ipynb"):
        executed = nbformat.read(Path(app.srcdir) / path.name, 4)
        nbformat.write(download(executed, plain, wheel()), path)


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
