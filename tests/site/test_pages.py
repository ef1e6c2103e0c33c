"""Every page in a real browser: on both themes, on a desk and on a phone."""

import os
import re
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

pytestmark = pytest.mark.site

WIDTHS = {"desk": 1280, "phone": 390}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A background network request of the browser would not be the site's.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]

# MathJax draws a macro that it does not know as red text.
BAD_FORMULA = "mjx-merror, mjx-mtext[style*='color: red']"

UNFOLD = """() => {
    document.querySelectorAll('details').forEach(e => { e.open = true; });
    document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
}"""

PROSE = """() => {
    const article = document.querySelector('article').cloneNode(true);
    article.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());
    return article.textContent;
}"""

FIGURES = """() => [...document.querySelectorAll('article figure')].map(figure => {
    const caption = figure.querySelector('figcaption');
    return {
        alts: [...figure.querySelectorAll('img')].map(i => i.alt),
        seen: [...figure.querySelectorAll('img')].filter(i => i.checkVisibility() && i.naturalWidth > 0)
            .map(i => i.currentSrc),
        caption: caption && caption.checkVisibility() ? caption.innerText.trim() : '',
    };
})"""

# WCAG's contrast ratio of each piece of the article's text with what lies behind it: the worst of each kind.
CONTRAST = """() => {
    const context = Object.assign(document.createElement('canvas'), {width: 1, height: 1})
        .getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, base) => base.map((c, i) => i < 3 ? top[3] * top[i] + (1 - top[3]) * c : 1);
    const behind = e => e ? over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement))
        : [255, 255, 255, 1];
    const luminance = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const c = rgb[i] / 255;
        return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
    const worst = {};
    const texts = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const e = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim()
            || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})
            || e.closest('.headerlink, script, style, mjx-assistive-mml')) continue;
        const back = behind(e);
        const [text, page] = [luminance(over(rgba(getComputedStyle(e).color), back)), luminance(back)];
        const ratio = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
        const kind = e.tagName.toLowerCase() + (e.className ? '.' + e.className : '');
        if (!(worst[kind]?.[0] <= ratio)) worst[kind] = [ratio, texts.currentNode.data.trim().slice(0, 40)];
    }
    return worst;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail("No browser: install Chromium (apt-get install chromium), or say CHROMIUM=/its/path. "
                    f"Looked for {', '.join(BROWSERS)}.", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=WIDTHS)
def width(request) -> int:
    return WIDTHS[request.param]


@pytest.fixture(scope="module")
def context(browser: Browser, theme: str, width: int) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    yield context
    context.close()


@pytest.fixture(scope="module")
def view(context: BrowserContext, address: str, page: str) -> Iterator[SimpleNamespace]:
    """The page as it stands after loading, everything that folds unfolded, and what happened on the way."""
    tab = context.new_page()
    view = SimpleNamespace(tab=tab, requests=[], failures=[], errors=[])
    tab.on("request", lambda request: view.requests.append(request.url))
    tab.on("requestfailed", lambda request: view.failures.append((request.failure, request.url)))
    tab.on("response", lambda answer: answer.status >= 400 and view.failures.append((answer.status, answer.url)))
    tab.on("console", lambda message: message.type == "error" and view.errors.append(message.text))
    tab.on("pageerror", lambda error: view.errors.append(str(error)))
    tab.goto(f"{address}/{page}.html")
    if tab.locator(".math").count():
        tab.evaluate("() => MathJax.startup.promise.then(() => true)")
    tab.evaluate(UNFOLD)
    tab.wait_for_load_state("networkidle")
    yield view
    tab.close()


def test_page_loads_whole_from_its_own_host_and_without_errors(view, address):
    assert view.failures == []
    assert view.errors == []
    outside = [url for url in view.requests if urlsplit(url).scheme not in ("data", "blob")
               and not url.startswith(f"{address}/")]
    assert outside == []


def test_page_follows_the_readers_theme(view, theme):
    assert view.tab.locator("html").get_attribute("data-theme") == theme


def test_every_formula_is_drawn_and_no_markup_is_left(view):
    assert view.tab.locator(f".math:has({BAD_FORMULA})").all_text_contents() == []
    assert view.tab.locator("article .math:not(:has(mjx-container))").all_inner_texts() == []
    assert re.findall(r"\\[(\[].{0,40}|\$[^$\n]+\$|\{[a-z:-]+\}`.{0,40}", view.tab.evaluate(PROSE)) == []


def test_one_search_box_is_seen(view):
    boxes = view.tab.locator(".search-button__button, input[type=search]")
    assert sum(box.is_visible() and box.bounding_box()["x"] >= 0 for box in boxes.all()) == 1


def test_nothing_is_wider_than_the_screen(view, width):
    assert view.tab.evaluate("() => document.documentElement.scrollWidth") <= width


def test_each_figure_shows_one_drawing_of_the_theme_its_own_alt_text_and_its_caption(view, theme):
    figures = view.tab.evaluate(FIGURES)
    for figure in figures:
        source, = figure["seen"]
        assert source.endswith(f".{theme}.svg")
        assert len(set(figure["alts"])) == 1 and len(figure["alts"][0]) >= 40
        assert figure["caption"]
    assert len({figure["alts"][0] for figure in figures}) == len(figures)


def test_every_image_has_an_alt_text(view):
    assert view.tab.evaluate("() => [...document.images].filter(i => !i.alt.trim()).map(i => i.src)") == []


def test_text_stands_out_from_its_background(view):
    weak = {kind: worst for kind, worst in view.tab.evaluate(CONTRAST).items() if worst[0] < 4.5}
    assert weak == {}


def test_search_box_finds_a_word_of_a_chapter(context, address):
    tab = context.new_page()
    tab.goto(f"{address}/01-setting.html")
    boxes = tab.locator(".search-button__button")
    next(box for box in boxes.all() if box.is_visible() and box.bounding_box()["x"] >= 0).click()
    tab.keyboard.type("covariance")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#search-results li a[href*='01-setting.html']")
    tab.close()
