"""Sphinx: say in every page's footer which profile and revision it was built from."""

import os

from sphinx.application import Sphinx
from sphinx.config import Config


def say(app: Sphinx, config: Config) -> None:
    edition = os.environ["EDITION"]
    config.html_theme_options = {
        **config.html_theme_options,
        "extra_footer": f"<p>Built with the {edition}.</p>",
    }


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", say)
    return {"parallel_read_safe": True}
