"""The interactive figures in a real browser: from an input event to the page laid out again."""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from .timing import goal, spread

ROOT = Path(__file__).parents[1]
PAGES = ("04-misaligned", "05-angle", "07-helper")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
SLIDERS, HANDLES = "article input[type=range]", "article [role=slider]:not(input)"
UPDATES = 40  # of each slider and each handle
FRAME = 16.0  # milliseconds

# Handlers run between the first listener of the window and its last; what they put off to the next frame is added.
WATCH = """() => {
    window.updates = [];
    let began, late = 0;
    const frame = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = callback => frame(time => {
        const start = performance.now();
        callback(time);
        late += performance.now() - start;
    });
    for (const kind of ['input', 'pointermove']) {
        window.addEventListener(kind, () => { began = performance.now(); }, true);
        window.addEventListener(kind, () => {
            document.documentElement.getBoundingClientRect();
            const took = performance.now() - began;
            late = 0;
            frame(() => frame(() => { window.updates.push(took + late); }));
        });
    }
}"""

SLIDE = """async (slider, count) => {
    const {min, max} = slider;
    for (let i = 0; i < count; i++) {
        slider.value = Number(min) + (Number(max) - Number(min)) * (i + 0.5) / count;
        slider.dispatchEvent(new Event('input', {bubbles: true}));
        await new Promise(done => setTimeout(done, 40));
    }
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def run() -> dict[str, object]:
    site = next((folder for profile in ("full", "fast") if (folder := ROOT / "_build" / profile / "html").is_dir()), None)
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if site is None or browser is None:
        return {"missing": "the site is not built" if site is None else "no Chromium", "goals": {}}
    pages = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site)) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        for name in PAGES:
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(f"http://127.0.0.1:{server.server_port}/{name}.html")
            tab.wait_for_timeout(2000)
            if tab.locator(SLIDERS).count() + tab.locator(HANDLES).count():
                pages[name] = spread(_updates(tab))
            tab.close()
        chromium.close()
        server.shutdown()
    if not pages:
        return {"missing": "the site has no interactive figures", "goals": {}}
    worst = max(page["median"] for page in pages.values())
    return {"milliseconds": pages, "goals": {"milliseconds an update": goal(worst, at_most=FRAME)}}


def _updates(tab: Page) -> np.ndarray:
    """Milliseconds of each update of a page's figures, by every slider and every handle."""
    tab.evaluate(WATCH)
    for slider in tab.locator(SLIDERS).all():
        slider.evaluate(SLIDE, UPDATES)
    for handle in tab.locator(HANDLES).all():
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        tab.mouse.move(x, y)
        tab.mouse.down()
        for i in range(UPDATES):
            tab.mouse.move(x + 20 * np.sin(i / 4), y + 20 * np.sin(i / 3))
            tab.wait_for_timeout(40)
        tab.mouse.up()
    tab.wait_for_timeout(200)
    return np.array(tab.evaluate("window.updates"))
