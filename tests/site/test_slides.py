"""The decks that make slides writes from the site, on the disk and in a browser."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.site

CHAPTERS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "book").glob("[0-9][0-9]-*.md")
)
RESULTS = "div.proof:is(.theorem, .proposition, .lemma, .corollary, .definition)"
# Marks of links, definitions on hover, tests, works: they stand on the page alone.
PAGE_ALONE = ".headerlink, .definition, .checked-by, .bibtex-citation"
AXE = {"preload": False}  # it would ask for style sheets, which no file may
OVERFLOWING = """() => {
    const slide = document.querySelector('section.present');
    const edge = document.querySelector('.slides').getBoundingClientRect();
    return [...slide.querySelectorAll(':scope > :not(.notes), img, math, .scrolls')]
        .filter(e => e.getClientRects().length)
        .filter(e => {
            const box = e.getBoundingClientRect();
            return box.bottom > edge.bottom + 1 || box.right > edge.right + 1
                || e.scrollWidth > e.clientWidth + 1 && e.matches('.scrolls');
        }).map(e => e.outerHTML.slice(0, 120));
}"""


@pytest.fixture(scope="module")
def decks() -> Path:
    return Path(os.environ["BOOK_SLIDES"]).resolve()


@pytest.fixture(params=CHAPTERS)
def chapter(request) -> str:
    return request.param


@pytest.fixture
def tab(browser: Browser, decks: Path, chapter: str) -> Iterator[Page]:
    # Even chapters in the dark, so that both sets of colours are looked at.
    theme = "light" if int(chapter[:2]) % 2 else "dark"
    tab = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme=theme)
    tab.errors = []
    tab.on(
        "console", lambda said: said.type == "error" and tab.errors.append(said.text)
    )
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(f"file://{decks}/{chapter}.html")
    tab.wait_for_selector("section.present")
    tab.evaluate("document.fonts.ready")
    yield tab
    tab.close()


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def words(element) -> str:
    return " ".join(element.get_text(" ", strip=True).split())


def signs(element) -> str:
    return "".join(element.get_text().split())


def test_every_result_and_every_figure_of_the_chapter_is_on_a_slide(
    site, decks, chapter
):
    page, deck = soup(site / f"{chapter}.html"), soup(decks / f"{chapter}.html")
    slides = {
        words(slide.h2): signs(slide.select_one(".body"))
        for slide in deck.select(".slides > section")
    }
    for part in page.select(PAGE_ALONE):
        part.decompose()
    for box in page.select(RESULTS):
        title = words(box.select_one(".admonition-title").extract())
        assert slides[title] == signs(box)
    shown = [image["src"] for image in deck.select("img.theme-light")]
    assert shown == [
        image["src"] for image in page.select("article figure img.theme-light")
    ]


def test_a_deck_needs_nothing_outside_its_folder(decks, chapter):
    deck = soup(decks / f"{chapter}.html")
    for element in deck.select("[src], [href]"):
        address = element.get("src") or element["href"]
        assert (decks / address.split("#")[0]).is_file()
    assert all(len(image["alt"]) >= 40 for image in deck.select("img"))
    assert re.findall(r"\$[^$]+\$|\\\(|merror", deck.get_text()) == []


def test_slides_turn_by_keyboard_hold_what_they_show_and_pass_axe(tab):
    total = tab.evaluate("Reveal.getTotalSlides()")
    amiss = {}
    for number in range(total):
        assert tab.evaluate("Reveal.getSlidePastCount()") == number
        found = tab.evaluate(OVERFLOWING) + [
            (rule["id"], [node["html"][:120] for node in rule["nodes"]])
            for rule in Axe().run(tab, options=AXE).response["violations"]
        ]
        if found:
            amiss[number + 1] = found
        tab.keyboard.press("ArrowRight")
    assert amiss == {}
    assert tab.errors == []


def test_s_opens_what_the_speaker_says(browser, decks):
    tab = browser.new_page()
    tab.goto(f"file://{decks}/{CHAPTERS[0]}.html#/2")
    tab.wait_for_selector("section.present")
    with tab.expect_popup() as opened:
        tab.keyboard.press("s")
    said = tab.locator("section.present .notes").text_content().strip()
    opened.value.get_by_text(said[:40]).wait_for()
    tab.close()


def test_the_index_leads_to_each_deck_by_its_title(decks):
    links = soup(decks / "index.html").select(".slides a")
    assert [link["href"] for link in links] == [f"{name}.html" for name in CHAPTERS]
    for link in links:
        assert words(link) == words(soup(decks / link["href"]).title)
        assert words(soup(decks / link["href"]).h2).endswith(words(link))


def test_the_speaker_has_something_to_say_at_nearly_every_slide(decks, chapter):
    slides = soup(decks / f"{chapter}.html").select(".slides > section")
    said = [bool(words(slide.select_one(".notes"))) for slide in slides]
    assert sum(said) >= len(slides) / 2
