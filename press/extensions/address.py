"""Sphinx: a build that is told its address says it on every page.

BOOK_URL, an address as https://example.org/book/, gives canonical links, absolute
previews (`page_meta`), a site map, robots.txt and a page for addresses that are none.
Without it the site is the same wherever it lies.
"""

from pathlib import Path
from urllib.parse import urljoin, urlsplit

from sphinx.application import Sphinx
from sphinx.config import Config

from publication import address


def say(app: Sphinx, config: Config) -> None:
    config.html_baseurl = address()
    config.sitemap_url_scheme = "{link}"
    config.sitemap_show_lastmod = False
    config.sitemap_excludes = ["404.html", "genindex.html", "search.html"]
    config.notfound_urls_prefix = urlsplit(address()).path


def allow_robots(app: Sphinx, failure: Exception | None) -> None:
    if not failure and app.builder.format == "html":
        sitemap = urljoin(address(), "sitemap.xml")
        Path(app.outdir, "robots.txt").write_text(
            f"User-agent: *\nAllow: /\nSitemap: {sitemap}\n", encoding="utf-8"
        )


def setup(app: Sphinx) -> dict:
    if address():
        app.setup_extension("sphinx_sitemap")
        app.setup_extension("notfound.extension")
        app.connect("config-inited", say)
        app.connect("build-finished", allow_robots)
    return {"parallel_read_safe": True}
