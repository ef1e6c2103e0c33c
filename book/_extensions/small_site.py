"""Sphinx: what the site does not need is not part of it.

Source maps, the theme's translations and MathJax's other bundles are removed. Drawings are written shorter by
scour and stay vectors. A notebook to download keeps what a cell printed; what a run draws or shows as a page of
this book is left to the run, with its text in place.
"""

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from scour import scour
from sphinx.application import Sphinx

SHORT = scour.parse_args(["--enable-comment-stripping", "--enable-id-stripping", "--shorten-ids",
                          "--remove-metadata", "--indent=none", "--no-line-breaks", "--strip-xml-prolog"])


def shorten_drawing(path: Path) -> None:
    path.write_text(scour.scourString(path.read_text(encoding="utf-8"), SHORT), encoding="utf-8")


def shorten_notebook(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if output["output_type"] == "display_data" and {"text/markdown", "text/plain"} <= set(data):
                output["data"] = {"text/plain": data["text/plain"]}
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def finish(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    site, static = Path(app.outdir), Path(app.outdir) / "_static"
    for path in static.rglob("*.map"):
        path.unlink()
    for path in (static / "mathjax").glob("*-*.js"):
        if path.name != "tex-chtml.js":
            path.unlink()
    for path in (static / "locales", *static.glob("vendor/fontawesome/*/js")):
        shutil.rmtree(path, ignore_errors=True)
    for path in site.glob("_sources/*.ipynb"):
        shorten_notebook(path)
    with ProcessPoolExecutor() as pool:
        list(pool.map(shorten_drawing, [*site.glob("_images/*.svg"), *static.glob("*.svg")]))


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
