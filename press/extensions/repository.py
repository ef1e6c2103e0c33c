"""Sphinx: a build that is told its repository has buttons that lead there.

REPOSITORY, an address as https://github.com/OWNER/NAME, gives each page the theme's
buttons for its source, for editing it and for reporting an issue. A page with code can
also be opened on Binder, which reads the chapter's source from branch main, and, from
GitHub, on Colab, which needs notebooks: the workflow keeps those of the site on branch
notebooks. Without REPOSITORY nothing points anywhere.
"""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BINDER, COLAB = "https://mybinder.org/v2", "https://colab.research.google.com"


def repository() -> str:
    return os.environ.get("REPOSITORY", "").rstrip("/")


def name_it(app: Sphinx, config: Config) -> None:
    config.html_theme_options = {
        **config.html_theme_options,
        "repository_url": repository(),
        "repository_branch": "main",
        "path_to_docs": "book",
        "use_repository_button": True,
        "use_source_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
    }


def name_source(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Pages come from executed notebooks; what can be edited is their text."""
    if doctree is not None:
        context["page_source_suffix"] = ".md"


def launch(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    if doctree is None or Path(app.env.doc2path(page)).suffix != ".ipynb":
        return
    where = urlsplit(repository())
    on_github = where.netloc == "github.com"
    source = f"gh{where.path}" if on_github else f"git/{quote(repository(), safe='')}"
    places = {"Binder": f"{BINDER}/{source}/main?urlpath=lab/tree/book/{page}.md"}
    if on_github:
        places["Colab"] = f"{COLAB}/github{where.path}/blob/notebooks/{page}.ipynb"
    buttons = [
        {"type": "link", "text": name, "tooltip": f"Run it on {name}", "url": address}
        for name, address in places.items()
    ]
    context["header_buttons"].insert(
        0,
        {
            "type": "group",
            "tooltip": "Run this page elsewhere",
            "icon": "fas fa-rocket",
            "buttons": buttons,
            "label": "launch-buttons",
        },
    )


def setup(app: Sphinx) -> dict:
    if repository():
        app.connect("config-inited", name_it)
        # Before the theme makes its buttons, and after.
        app.connect("html-page-context", name_source, priority=400)
        app.connect("html-page-context", launch, priority=900)
    return {"parallel_read_safe": True}
