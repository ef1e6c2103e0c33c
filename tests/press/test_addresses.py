"""The site that is told its repository or its address, and the one that is not."""

import re
import shutil
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from sphinx.testing.util import SphinxTestApp

ROOT = Path(__file__).parents[2]
CONF = """
extensions = ["myst_nb", "edition", "repository", "address", "page_meta"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}  # the default one is shared
root_doc = "index"
html_title = "The book"
html_theme = "sphinx_book_theme"
nb_execution_mode = "off"
copyright = "2026"
language = "en"
"""


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a book of a text and a notebook; returns its site's folder."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "press" / "extensions"), *sys.path])
    monkeypatch.setenv("EDITION", "test")

    def build(**told: str) -> Path:
        for name in ("REPOSITORY", "BOOK_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        (source / "conf.py").write_text(CONF, encoding="utf-8")
        (source / "index.md").write_text(
            "# The book\n\nWhat it is.\n\n```{toctree}\n01-one\n```\n", encoding="utf-8"
        )
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell("# One\n\nText.")],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, source / "01-one.ipynb")
        app = SphinxTestApp("html", srcdir=source)
        app.build()
        app.cleanup()
        assert app.warning.getvalue() == ""
        return source / "_build" / "html"

    return build


def links(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [unescape(link) for link in re.findall(r'href="(https?://[^"]*)"', text)]


def tags(page: Path) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    return dict(
        re.findall(r'<meta (?:name|property)="([^"]*)" content="([^"]*)"', text)
    )


def test_without_a_repository_nothing_points_to_one(build):
    site = build()
    for page in ("index.html", "01-one.html"):
        assert not [
            link
            for link in links(site / page)
            if re.search("github|gitlab|binder|colab", link)
        ]


def test_with_a_repository_pages_can_be_seen_edited_reported_and_launched(build):
    site = build(REPOSITORY="https://github.com/someone/book/")
    own = "https://github.com/someone/book"
    text, chapter = links(site / "index.html"), links(site / "01-one.html")
    assert {own, f"{own}/edit/main/book/index.md"} <= set(text)
    assert f"{own}/edit/main/book/01-one.md" in chapter
    assert f"{own}/blob/main/book/01-one.md?plain=1" in chapter
    assert any(link.startswith(f"{own}/issues/new?title=") for link in chapter)
    assert (
        "https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/book/01-one.md"
        in chapter
    )
    assert (
        "https://colab.research.google.com/github/someone/book/blob/notebooks/"
        "01-one.ipynb" in chapter
    )
    assert not any("binder" in link or "colab" in link for link in text)


def test_another_forge_than_github_has_binder_alone(build):
    site = build(REPOSITORY="https://gitlab.com/someone/book")
    chapter = links(site / "01-one.html")
    assert (
        "https://mybinder.org/v2/git/https%3A%2F%2Fgitlab.com%2Fsomeone%2Fbook/main"
        "?urlpath=lab/tree/book/01-one.md" in chapter
    )
    assert not any("colab" in link for link in chapter)


def test_with_an_address_pages_say_it_and_the_site_has_its_map(build):
    site = build(BOOK_URL="https://example.org/the/book")
    page = (site / "01-one.html").read_text(encoding="utf-8")
    assert (
        '<link rel="canonical" href="https://example.org/the/book/01-one.html"' in page
    )
    said = tags(site / "01-one.html")
    assert said["og:image"] == "https://example.org/the/book/_static/cover.png"
    assert said["citation_title"] == "One"
    assert said["citation_inbook_title"] == "The book"
    assert said["citation_public_url"] == "https://example.org/the/book/01-one.html"
    assert tags(site / "index.html")["citation_title"] == "When two agents disagree"
    addresses = [
        element.text
        for element in ElementTree.parse(site / "sitemap.xml").iter()
        if element.tag.endswith("loc")
    ]
    assert sorted(addresses) == [
        "https://example.org/the/book/01-one.html",
        "https://example.org/the/book/index.html",
    ]
    robots = (site / "robots.txt").read_text(encoding="utf-8")
    assert "Sitemap: https://example.org/the/book/sitemap.xml" in robots
    # It is shown wherever a wrong address leads, so its own links are absolute.
    missing = (site / "404.html").read_text(encoding="utf-8")
    assert 'href="/the/book/index.html"' in missing
    assert 'href="/the/book/_static/' in missing


def test_without_an_address_the_site_names_none(build):
    site = build()
    assert "canonical" not in (site / "01-one.html").read_text(encoding="utf-8")
    assert not any(name.startswith("citation_") for name in tags(site / "01-one.html"))
    for name in ("sitemap.xml", "robots.txt", "404.html"):
        assert not (site / name).exists()
