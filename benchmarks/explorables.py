"""The interactive figures in a real browser: what one update costs, the page laid out
and painted again.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, sync_playwright
from tqdm import tqdm

from .timing import goal, spread

ROOT = Path(__file__).parents[1]
PAGES = ("04-misaligned", "05-angle", "07-helper")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
CONTROLS = ".explorable input[type=range], .explorable .handle[role=slider]"
UPDATES = 15  # of each slider and each handle
FRAME = 16.0  # milliseconds

# The handler, which runs at once, and the frame after it: the first callback asked for
# starts it, and a message sent from there arrives when styles, layout and paint are
# done.
UPDATE = """async (control, count) => {
    const painted = () => new Promise(done => requestAnimationFrame(() => {
        const began = performance.now(), channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now() - began);
        channel.port2.postMessage(null);
    }));
    const times = [];
    for (let i = 0; i < count; i++) {
        const frame = painted(), began = performance.now();
        if (control.type === 'range') {
            const [low, high] = [control.min, control.max].map(Number);
            control.value = low + (high - low) * (i + 0.5) / count;
            control.dispatchEvent(new Event('input', {bubbles: true}));
        } else {
            const key = ['ArrowLeft', 'ArrowUp', 'ArrowRight', 'ArrowDown'][i % 4];
            const event = {key, bubbles: true, cancelable: true};
            control.dispatchEvent(new KeyboardEvent('keydown', event));
        }
        const handler = performance.now() - began;
        times.push(handler + await frame);
    }
    return times;
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def run() -> dict[str, object]:
    sites = [ROOT / "_build" / profile / "html" for profile in ("full", "fast")]
    site = next(filter(Path.is_dir, sites), None)
    browser = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if site is None or browser is None:
        return {
            "missing": "the site is not built" if site is None else "no Chromium",
            "goals": {},
        }
    controls = {}
    with (
        ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(_Quiet, directory=site)
        ) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        for name in PAGES:
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(f"http://127.0.0.1:{server.server_port}/{name}.html")
            tab.locator(CONTROLS).first.wait_for(timeout=10_000)
            for control in tqdm(tab.locator(CONTROLS).all(), leave=False, desc=name):
                controls[control.get_attribute("id").removeprefix("explorable-")] = (
                    spread(_updates(control))
                )
            tab.close()
        chromium.close()
        server.shutdown()
    worst = max(control["median"] for control in controls.values())
    return {
        "milliseconds": controls,
        "goals": {
            "milliseconds an update, the slowest control": goal(worst, at_most=FRAME)
        },
    }


def _updates(control: Locator) -> np.ndarray:
    """Milliseconds of each update by one slider or handle, after one that does not
    count.
    """
    control.scroll_into_view_if_needed()
    return np.array(control.evaluate(UPDATE, UPDATES + 1)[1:])
