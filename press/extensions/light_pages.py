"""Sphinx: a page asks for one style sheet, and for the icons that the site shows alone.

The theme's pages wait for a dozen style sheets and 300 KB of icons before they draw.
Here a page's sheets become one file, in their order and with the rules that the site
can use, and the icon fonts keep what some page, script or sheet names.
"""

import os
import re
from functools import cache
from hashlib import sha256
from pathlib import Path

from sphinx.application import Sphinx

from cut_font import cut_font
from used_rules import WORD, used_rules

SHEET = re.compile(r'<link[^>]*rel="stylesheet"[^>]*>\s*')
HREF = re.compile(r'href="([^"?]+)')
PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
ADDRESS = re.compile(r"""url\((["']?)(?!data:|#)([^"')?#]+)[^"')]*\1\)""")
IMPORT = re.compile(r"""@import\s*(?:url\()?["']([^"']+)["']\)?;""")
# .fa-search:before,.fa-magnifying-glass:before{content:"\f002"}
ICON = re.compile(r'((?:\.fa-[\w-]+:{1,2}before,?)+)\{content:"\\([0-9a-f]+)"\}')
CODE = re.compile(r"\\(f[0-9a-f]{3}|e[0-9a-f]{3})\b")


def pages(site: Path) -> list[Path]:
    """The site's pages; a template of the theme lies among its static files."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def whole(sheet: Path, static: Path) -> str:
    """A style sheet with what it imports, as it reads from `static`."""
    text = sheet.read_text(encoding="utf-8").replace('@charset "UTF-8";', "")
    text = ADDRESS.sub(
        lambda found: f'url("{os.path.relpath(sheet.parent / found[2], static)}")', text
    )
    return IMPORT.sub(
        lambda found: whole((sheet.parent / found[1]).resolve(), static), text
    )


@cache  # most pages ask for the same sheets
def joined(sheets: tuple[Path, ...], static: Path, named: frozenset[str]) -> str:
    return used_rules("\n".join(whole(sheet, static) for sheet in sheets), named)


def words(site: Path) -> frozenset[str]:
    """What its pages and scripts name, classes and ids among it."""
    return frozenset(
        word
        for place in [*pages(site), *(site / "_static").rglob("*.js")]
        for word in WORD.findall(place.read_text(encoding="utf-8"))
    )


def cut_icons(site: Path, named: frozenset[str]) -> None:
    static = site / "_static"
    (icons,) = static.glob("vendor/fontawesome/*/css/all.min.css")
    codes = {
        code
        for sheet in static.rglob("*.css")
        if sheet != icons
        for code in CODE.findall(sheet.read_text(encoding="utf-8"))
    }

    def kept(rule: re.Match) -> str:
        names = set(re.findall(r"fa-[\w-]+", rule[1]))
        if names & named:
            codes.add(rule[2])
        return rule[0] if names & named else ""

    text = ICON.sub(kept, icons.read_text(encoding="utf-8"))
    text = re.sub(r",url\([^)]*\.ttf\) format\(\"truetype\"\)", "", text)
    icons.write_text(
        text.replace('.woff2) format("woff2")', '.woff) format("woff")'),
        encoding="utf-8",
    )
    for path in icons.parents[1].glob("webfonts/*.ttf"):
        cut_font(path, path.with_suffix(".woff"), [int(code, 16) for code in codes])
        path.unlink()
        path.with_suffix(".woff2").unlink()


def join_sheets(page: Path, static: Path, named: frozenset[str]) -> set[Path]:
    """Returns the sheets that the page asked for and that are now one."""
    text = page.read_text(encoding="utf-8")
    sheets = tuple(
        (page.parent / HREF.search(link)[1]).resolve() for link in SHEET.findall(text)
    )
    # A page that only leads on has none; that for what is not found names them from the
    # root of its host.
    if not sheets or not all(sheet.is_relative_to(static) for sheet in sheets):
        return set()
    sheet = joined(sheets, static, named)
    name = f"page-{sha256(sheet.encode()).hexdigest()[:12]}.css"
    (static / name).write_text(sheet, encoding="utf-8")
    link = (
        f'<link rel="stylesheet" href="{os.path.relpath(static / name, page.parent)}">'
    )
    first, rest = SHEET.split(text, maxsplit=1)
    page.write_text(
        PRELOAD.sub("", f"{first}{link}\n{SHEET.sub('', rest)}"), encoding="utf-8"
    )
    return set(sheets)


def lighten(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    site = Path(app.outdir).resolve()
    named = words(site)
    cut_icons(site, named)
    replaced = [join_sheets(page, site / "_static", named) for page in pages(site)]
    for sheet in set().union(*replaced) if all(replaced) else ():
        sheet.unlink()


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", lighten, priority=900)
    return {"parallel_read_safe": True}
