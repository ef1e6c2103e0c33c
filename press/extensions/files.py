"""Sphinx: the site holds the files that a reader takes along: the package's wheel, the
students' course, and the book on paper where it was set.

The build names their folder in BOOK_FILES. Without it, as for a chapter alone, the
site has none.
"""

import os
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from install_cell import FILES

# What a link says of a file, by how its name ends; in the order of the links.
SAID = {
    ".whl": "the package, as a wheel for pip",
    ".zip": "the chapters as a student's notebooks, with a page on how to begin",
    ".pdf": "the whole book on paper, as a PDF",
}


def offered() -> list[Path]:
    folder = os.environ.get("BOOK_FILES")
    return [
        path
        for suffix in SAID
        for path in (sorted(Path(folder).glob(f"*{suffix}")) if folder else [])
    ]


def wheel() -> str:
    """The wheel's name; any of the package's where none is offered."""
    return next(
        (path.name for path in offered() if path.suffix == ".whl"),
        "agent_dynamics-*.whl",
    )


def copy(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    for path in offered():
        target = Path(app.outdir) / FILES
        target.mkdir(exist_ok=True)
        shutil.copyfile(path, target / path.name)


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True}
