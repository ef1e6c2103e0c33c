"""Every page in a real browser: on both themes, on a desk and on a phone."""

import re
from collections.abc import Iterator
from os.path import normpath
from types import SimpleNamespace
from urllib.parse import urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from agent_dynamics.book.claims import ledger

pytestmark = pytest.mark.site

WIDTHS = {"desk": 1280, "phone": 390}
HEIGHT = 900

UNFOLD = """async () => {
    document.querySelectorAll('details').forEach(e => { e.open = true; });
    document.querySelectorAll('.toggle-hidden')
        .forEach(e => e.classList.remove('toggle-hidden'));
    // Laid out as where the reader has come to it.
    const whole = new CSSStyleSheet();
    whole.replaceSync('* { content-visibility: visible !important; }');
    document.adoptedStyleSheets.push(whole);
    document.body.click();
    // For what a fold does once it is open.
    await new Promise(resolve => setTimeout(resolve, 500));
    document.getAnimations().filter(a => a.timeline instanceof DocumentTimeline)
        .forEach(a => a.finish());
}"""

PROSE = """() => {
    const page = document.querySelector('article, .bd-search-container');
    const article = page.cloneNode(true);
    article.querySelectorAll('pre, code, script, style, math')
        .forEach(e => e.remove());
    return article.textContent;
}"""

LOOSE_STOPS = """() => [...document.querySelectorAll('article math:not([display])')]
    .filter(e => !e.parentElement.matches('.formula'))
    .map(e => e.nextSibling?.data ?? '').filter(text => /^[.,;:!?)]/.test(text))"""

WIDE_FORMULAS = """() => [...document.querySelectorAll('article .scrolls')]
    .filter(e => e.scrollWidth > e.clientWidth)
    .map(e => [
        e.textContent.slice(0, 40),
        getComputedStyle(e).getPropertyValue('--more-right'),
    ])"""

NUMBERS_BEFORE_FORMULAS = """() => [...document.querySelectorAll('.math > .eqno')]
    .filter(e => e.getBoundingClientRect().left
        < e.previousElementSibling.getBoundingClientRect().right)
    .map(e => e.textContent)"""

FIGURES = """() => [...document.querySelectorAll('article figure')].map(figure => {
    const caption = figure.querySelector('figcaption');
    return {
        alts: [...figure.querySelectorAll('img')].map(i => i.alt),
        seen: [...figure.querySelectorAll('img')]
            .filter(i => i.checkVisibility() && i.naturalWidth > 0)
            .map(i => i.src),
        caption: caption && caption.checkVisibility() ? caption.innerText.trim() : '',
    };
})"""

PROOFS_WITHOUT_END = """() => [
    ...document.querySelectorAll('div.proof[class="proof admonition"]'),
].filter(proof => !getComputedStyle(proof, '::after').content.includes('∎'))
    .map(proof => proof.textContent.slice(0, 60))"""

# What a browser puts right on its own, and another reader may not.
INVALID = """() => {
    const ids = [...document.querySelectorAll('article [id]')].map(e => e.id);
    return [
        ...ids.filter((id, i) => ids.indexOf(id) !== i),
        ...[...document.querySelectorAll('summary p, figcaption figcaption')]
            .map(e => e.outerHTML.slice(0, 80)),
    ];
}"""

# Terms whose definition does not show, or not all of it, when they have the focus, or
# shows without it.
DEFINITIONS_AMISS = """() => [...document.querySelectorAll('.term')].filter(term => {
    const definition = term.querySelector('.definition');
    if (definition.checkVisibility()) return true;
    term.scrollIntoView({behavior: 'instant', block: 'center'});
    term.focus({preventScroll: true});
    const {left, right, top, bottom} = definition.getBoundingClientRect();
    const seen = definition.checkVisibility();
    term.blur();
    return !(seen && left >= 0 && right <= innerWidth
             && top >= 0 && bottom <= innerHeight);
}).map(term => term.textContent)"""

# WCAG's contrast ratio of each piece of the article's text with what lies behind it:
# the worst of each kind.
CONTRAST = """() => {
    const canvas = document.createElement('canvas');
    const context = Object.assign(canvas, {width: 1, height: 1})
        .getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, base) => base.map(
        (c, i) => i < 3 ? top[3] * top[i] + (1 - top[3]) * c : 1);
    const behind = e => e
        ? over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement))
        : [255, 255, 255, 1];
    const luminance = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const c = rgb[i] / 255;
        return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    }, 0);
    const worst = {};
    const texts = document.createTreeWalker(
        document.querySelector('article, .bd-search-container'),
        NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const e = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim()
            || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})
            || e.closest('.headerlink, script, style')) continue;
        const back = behind(e);
        const text = luminance(over(rgba(getComputedStyle(e).color), back));
        const page = luminance(back);
        const ratio = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
        const kind = e.tagName.toLowerCase() + (e.className ? '.' + e.className : '');
        if (!(worst[kind]?.[0] <= ratio))
            worst[kind] = [ratio, texts.currentNode.data.trim().slice(0, 40)];
    }
    return worst;
}"""


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=WIDTHS)
def width(request) -> int:
    return WIDTHS[request.param]


@pytest.fixture(scope="module")
def context(browser: Browser, theme: str, width: int) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT}, color_scheme=theme
    )
    yield context
    context.close()


@pytest.fixture(scope="module")
def view(context: BrowserContext, address: str, page: str) -> Iterator[SimpleNamespace]:
    """The page as it stands after loading, everything that folds unfolded, and what
    happened on the way.
    """
    tab = context.new_page()
    view = SimpleNamespace(tab=tab, requests=[], failures=[], errors=[])
    tab.on("request", lambda request: view.requests.append(request.url))
    tab.on(
        "requestfailed",
        lambda request: view.failures.append((request.failure, request.url)),
    )
    tab.on(
        "response",
        lambda answer: (
            answer.status >= 400 and view.failures.append((answer.status, answer.url))
        ),
    )
    tab.on(
        "console",
        lambda message: message.type == "error" and view.errors.append(message.text),
    )
    tab.on("pageerror", lambda error: view.errors.append(str(error)))
    tab.goto(f"{address}/{page}.html")
    tab.evaluate(UNFOLD)
    tab.wait_for_load_state("networkidle")
    yield view
    tab.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A page of its own, for what is the same in all views."""
    tab = browser.new_page(viewport={"width": WIDTHS["desk"], "height": HEIGHT})
    yield tab
    tab.close()


def test_page_loads_whole_from_its_own_host_and_without_errors(view, address):
    assert view.failures == []
    assert view.errors == []
    outside = [
        url
        for url in view.requests
        if urlsplit(url).scheme not in ("data", "blob")
        and not url.startswith(f"{address}/")
    ]
    assert outside == []


def test_page_follows_the_readers_theme(view, theme):
    assert view.tab.locator("html").get_attribute("data-theme") == theme


def test_every_formula_is_drawn_and_no_markup_is_left(view):
    assert view.tab.locator("merror, .math:not(:has(math))").all_inner_texts() == []
    assert (
        re.findall(
            r"\\[(\[].{0,40}|\$[^$\n]+\$|\{[a-z:-]+\}`.{0,40}", view.tab.evaluate(PROSE)
        )
        == []
    )


def test_no_line_can_begin_with_the_stop_of_a_formula(view):
    assert view.tab.evaluate(LOOSE_STOPS) == []


def test_a_formula_fits_a_desk_and_shows_on_a_phone_where_it_goes_on(view, width):
    wide = view.tab.evaluate(WIDE_FORMULAS)
    if width == WIDTHS["desk"]:
        assert wide == []
    assert [formula for formula, fade in wide if fade == "0px"] == []
    assert view.tab.evaluate(NUMBERS_BEFORE_FORMULAS) == []


def test_one_search_box_is_seen_beside_the_search_pages_own(view, page):
    boxes = view.tab.locator(".search-button__button, input[type=search]")
    seen = sum(box.is_visible() and box.bounding_box()["x"] >= 0 for box in boxes.all())
    assert seen == 1 + (page == "search")


def test_nothing_is_wider_than_the_screen(view, width):
    assert view.tab.evaluate("() => document.documentElement.scrollWidth") <= width


def test_each_figure_shows_one_drawing_of_the_theme_its_own_alt_text_and_its_caption(
    view, theme
):
    figures = view.tab.evaluate(FIGURES)
    for figure in figures:
        (source,) = figure["seen"]
        assert source.endswith(".svg#dark" if theme == "dark" else ".svg")
        assert len(set(figure["alts"])) == 1 and len(figure["alts"][0]) >= 40
        assert figure["caption"]
    assert len({figure["alts"][0] for figure in figures}) == len(figures)


def test_every_image_has_an_alt_text(view):
    assert (
        view.tab.evaluate(
            "() => [...document.images].filter(i => !i.alt.trim()).map(i => i.src)"
        )
        == []
    )


def test_text_stands_out_from_its_background(view):
    weak = {
        kind: worst
        for kind, worst in view.tab.evaluate(CONTRAST).items()
        if worst[0] < 4.5
    }
    assert weak == {}


def test_axe_finds_nothing_serious_or_critical(view, theme, width):
    if (theme == "dark") != (width == WIDTHS["desk"]):
        pytest.skip(
            "axe looks at each theme on one width: dark on a desk, light on a phone"
        )
    # It would ask for a style sheet that another imports, at the wrong address.
    options = {"preload": False}
    violations = Axe().run(view.tab, options=options).response["violations"]
    assert [
        (rule["id"], [node["html"] for node in rule["nodes"]])
        for rule in violations
        if rule["impact"] in ("serious", "critical")
    ] == []


def test_every_definition_shows_within_the_screen_when_its_term_has_the_focus(view):
    assert view.tab.evaluate(DEFINITIONS_AMISS) == []


def test_each_proof_ends_with_its_mark(view):
    assert view.tab.evaluate(PROOFS_WITHOUT_END) == []


def test_names_are_given_once_and_summaries_and_captions_hold_what_they_may(view):
    assert view.tab.evaluate(INVALID) == []


def test_search_box_finds_a_word_of_a_chapter(context, address):
    tab = context.new_page()
    tab.goto(f"{address}/01-setting.html")
    boxes = tab.locator(".search-button__button")
    next(
        box for box in boxes.all() if box.is_visible() and box.bounding_box()["x"] >= 0
    ).click()
    tab.keyboard.type("covariance")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#search-results li a[href*='01-setting.html']")
    tab.close()


def test_the_first_page_is_readable_before_any_script_has_loaded(
    context, address, theme
):
    tab = context.new_page()
    tab.route(re.compile(r"\.js(\?|$)"), lambda route: None)  # never answered
    tab.goto(f"{address}/index.html", wait_until="commit")
    tab.wait_for_function("""() => [...document.querySelectorAll('article figure img')]
        .some(image => image.checkVisibility() && image.naturalWidth)""")
    # It still waits for them.
    assert tab.evaluate("() => document.readyState") != "complete"
    assert tab.locator("article h1").is_visible()
    assert tab.locator("text=Two people estimate one quantity").is_visible()
    ground = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[theme]
    tab.close()


def test_next_leads_through_the_whole_book_and_previous_back(site, pages):
    link = re.compile(r'class="(left-prev|right-next)"\s+href="([^"]+)"')
    neighbours = {
        page.relative_to(site).as_posix(): {
            way: normpath(page.relative_to(site).parent / there)
            for way, there in link.findall(page.read_text(encoding="utf-8"))
        }
        for page in [*site.glob("*.html"), *site.glob("api/*.html")]
    }
    read = ["index.html"]
    while following := neighbours[read[-1]].get("right-next"):
        assert neighbours[following]["left-prev"] == read[-1]
        read.append(following)
    assert set(read) == {f"{page}.html" for page in pages}


def test_a_term_shows_its_definition_to_a_pointer(tab, address):
    tab.goto(f"{address}/05-angle.html")
    term = tab.locator(".term").first
    term.hover()
    assert term.locator(".definition").is_visible()
    tab.keyboard.press("Escape")
    assert not term.locator(".definition").is_visible()
    tab.mouse.move(0, 0)
    term.click()
    assert term.locator(".definition").is_visible()
    tab.keyboard.press("Escape")
    tab.mouse.move(0, 0)
    assert not term.locator(".definition").is_visible()
    term.blur()
    term.hover()
    assert term.locator(".definition").is_visible()


def test_a_theorem_opens_the_source_of_its_test(tab, address):
    tab.goto(f"{address}/05-angle.html")
    link = tab.locator("div.theorem .checked-by a").first
    # No browser has the inner text of what is not laid out yet.
    name = f"test_{link.text_content().replace(' ', '_')}"
    link.click()
    assert tab.url.endswith(f".html#{name}")
    assert f"def {name}(" in tab.locator(f"#{name}").inner_text()


@pytest.mark.parametrize("width", [390, 1300])
def test_a_link_leads_to_its_place_far_down_a_long_chapter(tab, address, width):
    tab.set_viewport_size({"width": width, "height": HEIGHT})
    for place in ("thm-small-step", "ex-stubborn"):
        tab.goto(f"{address}/04-misaligned.html#{place}")
        tab.wait_for_load_state()
        top = f"document.getElementById('{place}').getBoundingClientRect().top"
        tab.wait_for_function(f"0 <= {top} && {top} < {HEIGHT / 3}")


def test_on_paper_hints_and_solutions_are_unfolded_and_nothing_asks_for_a_click(
    tab, address
):
    tab.goto(f"{address}/04-misaligned.html")
    tab.locator(".toggle-button").first.wait_for()
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("div.hint").count() and not tab.locator(".toggle-hidden").count()
    assert not any(
        button.is_visible() for button in tab.locator(".toggle-button").all()
    )


def test_the_box_of_a_page_names_its_commands_and_offers_its_files(tab, address):
    tab.goto(f"{address}/04-misaligned.html")
    box = tab.locator("details.chapter-box")
    assert not box.locator("pre").first.is_visible()
    box.locator("summary").press("Enter")
    texts = box.locator("pre").all_inner_texts()
    assert texts[:2] == [
        "make chapter CHAPTER=04",
        "make chapter CHAPTER=04 PROFILE=fast",
    ]
    assert texts[2].startswith("@misc{agentdynamics,") and texts[3].startswith(
        "@misc{cosentino2025convergence,"
    )
    assert sum(
        button.is_visible() for button in box.locator("button.copybtn").all()
    ) == len(texts)
    files = [link.get_attribute("href") for link in box.locator("a").all()]
    assert len(files) > 3 and files[0].endswith("04-misaligned.ipynb")
    for file in files:
        assert tab.request.get(urljoin(tab.url, file)).ok


def test_a_page_describes_itself(tab, address):
    tab.goto(f"{address}/05-angle.html")
    said = {
        name: tab.locator(f"meta[property='og:{name}']").get_attribute("content")
        for name in ("title", "type", "description", "image")
    }
    assert (
        said["title"] == "The angle between the targets" and said["type"] == "article"
    )
    assert (
        tab.locator("meta[name=description]").get_attribute("content")
        == said["description"]
    )
    assert said["description"].startswith("How the plateaus grow with the angle")
    assert len(said["description"]) <= 201
    assert (
        tab.request.get(urljoin(tab.url, said["image"])).headers["content-type"]
        == "image/png"
    )


def shown(tab: Page) -> int:
    return tab.evaluate(
        "() => [...document.querySelectorAll('.claim')].filter(e => "
        "e.checkVisibility()).length"
    )


def test_a_name_in_a_chapters_code_opens_its_entry_and_that_one_its_source(
    tab, address
):
    tab.goto(f"{address}/04-misaligned.html")
    tab.evaluate(UNFOLD)
    tab.locator("div.cell_input a", has_text="small_step_limit").last.click()
    assert tab.url.endswith(
        "api/equilibrium.html#agent_dynamics.equilibrium.small_step_limit"
    )
    entry = tab.locator("dl:has(> dt[id$='.small_step_limit'])")
    cited = entry.locator("dd a[href*='thm-small-step']").inner_text()
    assert re.fullmatch(r"Theorem 4\.\d", cited)
    entry.locator("a:has(.viewcode-link)").click()
    assert (
        "def small_step_limit("
        in tab.locator("#" + tab.url.partition("#")[2].replace(".", "\\.")).inner_text()
    )


def test_the_ledger_follows_its_filter(tab, address):
    tab.goto(f"{address}/claims.html")
    count = len(ledger())
    summary = tab.get_by_role("status")
    assert shown(tab) == count and summary.inner_text().startswith(f"{count} claims: ")
    tab.get_by_label("Source").select_option("Paper")
    paper = sum(claim.source == "paper" for claim in ledger().values())
    assert shown(tab) == paper
    assert summary.inner_text().startswith(
        f"{paper} of {count} claims: {paper} from the paper, 0 added"
    )
    tab.get_by_label("Source").select_option("All")
    tab.get_by_label("Chapter").select_option("The angle between the targets")
    assert shown(tab) == sum(claim.chapter == "05-angle" for claim in ledger().values())
    tab.get_by_label("Chapter").select_option("All")
    tab.get_by_label("Verdict").select_option("Does not hold")
    # Only of a language model does the book say what it does not do.
    failed = shown(tab)
    assert summary.inner_text().startswith(f"{failed} of {count} claims")
    assert failed < sum(claim.about_models for claim in ledger().values())
    assert tab.locator(".claim:visible:not([id^=claim-language-model])").count() == 0
    tab.get_by_label("Verdict").select_option("All")
    tab.get_by_label("Text").press_sequentially("ANGLE-limit")
    assert shown(tab) == 1 and tab.locator("#claim-angle-limit").is_visible()


def test_without_scripts_the_whole_ledger_stands(browser, address):
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(f"{address}/claims.html")
    assert shown(tab) == len(ledger())
    assert tab.locator(".ledger-filter").count() == 0
    tab.close()
