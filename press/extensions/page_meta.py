"""Sphinx: what a page tells a search engine, an index of scholars, and a preview of it
(Open Graph, ogp.me).

Previews need absolute addresses: they have one where the build knows the site's
(`address`). The tags by which scholars cite, citation_*, are then there too.
"""

import html
from pathlib import Path
from urllib.parse import urljoin

import yaml
from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
COVER = "_static/cover.png"
COVER_ALT = (
    "The book's title beside two targets and the zigzag of messages between them"
)
LONGEST = 200


def description(doctree: nodes.document) -> str:
    """The page's aims where it lists them, its first paragraph otherwise; what has
    formulas is left out.
    """
    boxes = list(doctree.findall(nodes.admonition))
    aims = list(boxes[0].findall(nodes.list_item)) if boxes else []
    texts = aims or [
        p
        for p in doctree.findall(nodes.paragraph)
        if isinstance(p.parent, nodes.section)
    ]
    plain = [
        " ".join(text.astext().split())
        for text in texts
        if not any(text.findall(nodes.math))
    ]
    said = " ".join(plain if aims else plain[:1])
    return (
        said
        if len(said) <= LONGEST
        else said[:LONGEST].rsplit(" ", 1)[0].rstrip(",.:;") + "…"
    )


def citation(app: Sphinx) -> dict[str, str]:
    """The book, as CITATION.cff cites it."""
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return {
        "citation_title": about["title"],
        "citation_author": about["authors"][0]["name"],
        "citation_publication_date": app.config.copyright,
        "citation_language": app.config.language,
    }


def add(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    if doctree is None:
        return
    base, is_cover = app.config.html_baseurl, page == app.config.root_doc
    # Or its last part would be taken for a page and be replaced.
    base = base and base.rstrip("/") + "/"
    tags = {
        "og:title": app.config.html_title
        if is_cover
        else app.env.titles[page].astext(),
        "og:type": "book" if is_cover else "article",
        "og:site_name": app.config.html_title,
        "og:image": urljoin(base, COVER)
        if base
        else context["pathto"](COVER, resource=True),
        "og:image:alt": COVER_ALT,
        "twitter:card": "summary_large_image",
    }
    cited = {}
    if base:
        tags["og:url"] = urljoin(base, app.builder.get_target_uri(page))
        cited = citation(app) | {"citation_public_url": tags["og:url"]}
        if not is_cover:
            cited |= {
                "citation_title": tags["og:title"],
                "citation_inbook_title": app.config.html_title,
            }
    for attribute, named in (("property", tags), ("name", cited)):
        context["metatags"] += "".join(
            f'\n<meta {attribute}="{name}" content="{html.escape(value)}" />'
            for name, value in named.items()
        )
    if said := html.escape(description(app.env.get_doctree(page))):
        context["metatags"] += (
            f'\n<meta name="description" property="og:description" content="{said}" />'
        )


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True}
