"""Sphinx: the page first, then its scripts, each of them once.

What an extension adds while pages are read is otherwise entered twice, and what the
book does not use is loaded. The theme's icons come as a font: their script, 1.5 MB that
every page would wait for, is left out. Only the reader's theme is set before the first
paint.
"""

import re
from functools import partial
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config

THEME = """{const {dataset} = document.documentElement;
if (!['light', 'dark'].includes(dataset.theme))
    dataset.theme =
        matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';}"""

# Cells that run on a page and tabs: the book has neither.
UNUSED = re.compile("thebe|design-tabs")


def use_templates(app: Sphinx, config: Config) -> None:
    config.templates_path.append(str(Path(__file__).with_name("templates")))


def once(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    scripts = {
        (script.filename or "", script.attributes.get("body")): script
        for script in context["script_files"]
        if not UNUSED.search(f"{script.filename} {script.attributes.get('body')}")
    }
    context["script_files"][:] = scripts.values()
    for script in scripts.values():
        # Its own scripts do not wait, and need these, which all pages share.
        if page == "search":
            script.attributes.pop("defer", None)
        elif script.filename:
            script.attributes.setdefault("defer", "defer")
        elif script.attributes.get("body", "").startswith("DOCUMENTATION_OPTIONS"):
            script.attributes["type"] = "module"  # waits like a deferred one
    context["without_icon_script"] = partial(
        re.sub, r'<script src="[^"]*/fontawesome/[^"]*"></script>', ""
    )


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", use_templates)
    app.connect("html-page-context", once, priority=900)
    app.add_js_file(None, body=THEME, priority=100)
    return {"parallel_read_safe": True}
