"""The built site, served on loopback."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

BOOK = Path(__file__).parents[2] / "book"

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A background network request of the browser would not be the site's.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def reference_pages() -> list[str]:
    """The pages of the package's modules."""
    contents = (BOOK.parent / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"file: (api/\S+)", contents)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`page` is every page in turn, search, index, cited tests and the source of one
    module too; `notebook` every one that has code.
    """
    sources = {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(BOOK.glob("*.md"))
    }
    tests = sorted(set(re.findall(r"`(tests/\w+)\.py::", "".join(sources.values()))))
    if "page" in metafunc.fixturenames:
        made = [*reference_pages(), "_modules/agent_dynamics/language_model/experiment"]
        metafunc.parametrize(
            "page",
            [*sources, *tests, *made, "search", "genindex"],
            scope="module",
        )
    if "notebook" in metafunc.fixturenames:
        metafunc.parametrize(
            "notebook",
            [
                stem
                for stem, text in sources.items()
                if re.search(r"^```\{code-cell\}", text, re.MULTILINE)
            ],
        )


@pytest.fixture(scope="session")
def pages() -> list[str]:
    """What the contents list, in any order."""
    return [*(path.stem for path in BOOK.glob("*.md")), *reference_pages()]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    folder = Path(os.environ.get("BOOK_SITE", ""))
    if "BOOK_SITE" not in os.environ or not (folder / "index.html").is_file():
        pytest.fail(
            f"BOOK_SITE was '{os.environ.get('BOOK_SITE', '')}'; it must be the "
            "folder of the built site. "
            "make test-site builds the book and sets it.",
            pytrace=False,
        )
    return folder.resolve()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=site)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if path is None:
        pytest.fail(
            "No browser: install Chromium (apt-get install chromium), or say "
            "CHROMIUM=/its/path. "
            f"Looked for {', '.join(BROWSERS)}.",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
