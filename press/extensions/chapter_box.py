"""Sphinx: a folded box at the end of each page: run it again where it has code, take it
along, cite it.
"""

import os
import re
from pathlib import Path

import yaml
from docutils import nodes
from jinja2 import Template
from sphinx import addnodes
from sphinx.application import Sphinx

from files import SAID, offered
from install_cell import FILES

ROOT = Path(__file__).parents[2]
BOX = Template(
    Path(__file__)
    .with_name("templates")
    .joinpath("chapter_box.html")
    .read_text(encoding="utf-8"),
    autoescape=True,
)


def edition(app: Sphinx) -> str:
    """BibTeX of this edition, from CITATION.cff."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return (
        "@misc{agentdynamics,\n"
        f"  title = {{{about['title']}}},\n"
        f"  author = {{{{{about['authors'][0]['name']}}}}},\n"
        f"  year = {{{app.config.copyright}}},\n"
        f"  note = {{Version {about['version']}, {os.environ['EDITION']}}},\n}}"
    )


def paper(app: Sphinx) -> str:
    """BibTeX of the paper, as it stands in the bibliography: its first entry."""
    return (
        Path(app.srcdir, "references.bib")
        .read_text(encoding="utf-8")
        .strip()
        .split("\n\n")[0]
    )


def add(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    if doctree is None:
        return
    data = {
        link["filename"].rpartition("/")[2]: context["pathto"](
            f"_downloads/{link['filename']}", resource=True
        )
        for link in doctree.findall(addnodes.download_reference)
        if "filename" in link
    }
    has_code = Path(app.env.doc2path(page)).suffix == ".ipynb"
    context["body"] += BOX.render(
        chapter=re.match(r"\d\d(?=-)|.*", page)[0] if has_code else None,
        data=data,
        edition=edition(app),
        paper=paper(app),
        notebook=context["pathto"](f"_sources/{page}.ipynb", resource=True),
        files={
            context["pathto"](f"{FILES}/{path.name}", resource=True): (
                path.name,
                SAID[path.suffix],
            )
            for path in offered()
        },
    )


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True}
