"""Sphinx: what the site does not need is not part of it.

Source maps and the theme's translations are removed. Drawings are written shorter by
scour and stay vectors; the two of a figure, which differ by the colour of ink alone,
become one file. Names and brackets of code lose the element that would give them the
colour they have, signs like = and + look as these do, and notebooks lose the white
space between their parts.
"""

import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import repeat
from pathlib import Path

from scour import scour
from sphinx.application import Sphinx

from agent_dynamics.book.figures import INK
from agent_dynamics.cache import written_whole

SHORT = scour.parse_args(
    [
        "--enable-comment-stripping",
        "--enable-id-stripping",
        "--shorten-ids",
        "--remove-metadata",
        "--indent=none",
        "--no-line-breaks",
        "--strip-xml-prolog",
        "--set-precision=4",
    ]
)
# A drawing that is asked for as NAME.svg#dark has the ink of the dark page.
PLAIN_CODE = re.compile(r'<span class="[npo]">([^<]*)</span>')
INKS = f"<style>svg{{color:{INK['light']}}}svg:target{{color:{INK['dark']}}}</style>"


def shorten_drawing(path: Path, shortened: Path) -> None:
    """What an earlier build shortened is taken from the folder `shortened`."""
    drawing = path.read_text(encoding="utf-8")
    kept = shortened / f"{sha256(drawing.encode()).hexdigest()}.svg"
    if not kept.exists():
        with written_whole(kept) as partial:
            partial.write_text(scour.scourString(drawing, SHORT), encoding="utf-8")
    shutil.copyfile(kept, path)


def join_drawings(images: Path) -> set[str]:
    """The names of the figures whose two drawings are now one, NAME.svg."""
    joined = set()
    for light in images.glob("*.light.svg"):
        name = light.name.removesuffix(".light.svg")
        dark, text = (
            light.with_name(f"{name}.dark.svg"),
            light.read_text(encoding="utf-8"),
        )
        if dark.exists() and text.replace(INK["light"], INK["dark"]) == dark.read_text(
            encoding="utf-8"
        ):
            text = text.replace(INK["light"], "currentColor")
            text = re.sub(r"<svg([^>]*)>", rf'<svg id="dark"\1>{INKS}', text, count=1)
            light.with_name(f"{name}.svg").write_text(text, encoding="utf-8")
            light.unlink()
            dark.unlink()
            joined.add(name)
    return joined


def name_joined(page: Path, joined: set[str]) -> None:
    def renamed(found: re.Match) -> str:
        name, theme = found.groups()
        return (
            f"_images/{name}.svg{'#dark' * (theme == 'dark')}"
            if name in joined
            else found[0]
        )

    text = page.read_text(encoding="utf-8")
    page.write_text(
        re.sub(r"_images/([\w-]+)\.(light|dark)\.svg", renamed, text), encoding="utf-8"
    )


def finish(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    site, static = Path(app.outdir), Path(app.outdir) / "_static"
    for path in static.rglob("*.map"):
        path.unlink()
    for path in (static / "locales", *static.glob("vendor/fontawesome/*/js")):
        shutil.rmtree(path, ignore_errors=True)
    drawings = [*site.glob("_images/*.svg"), *static.glob("*.svg")]
    # Beside what Sphinx has read, which goes when this file changes.
    shortened = Path(app.doctreedir) / "drawings"
    shortened.mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(shorten_drawing, drawings, repeat(shortened)))
    joined = join_drawings(site / "_images")
    for page in site.glob("*.html"):
        name_joined(page, joined)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(PLAIN_CODE.sub(r"\1", text), encoding="utf-8")
    for path in site.glob("_sources/*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(notebook, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
