"""Sphinx: `{explorable} NAME` marks where a figure that the reader can move stands on
the page.

Its body introduces it, and `:figure:` names the still figure that it is the moving form
of. The page shows the still figure alone until _static/explorables/NAME.js has run, and
other formats than HTML show nothing else. The scripts are no ES modules, which browsers
refuse to load from a file: the site also works by a double-click.
"""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

SCRIPTS = ("dynamics", "widgets")  # what every explorable builds on


class Place(nodes.General, nodes.Element):
    """Where an explorable stands."""


class Explorable(SphinxDirective):
    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"figure": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        place = Place(name=self.arguments[0], figure=self.options["figure"])
        self.state.nested_parse(self.content, self.content_offset, place)
        return [place]


def not_everywhere(app: Sphinx, config: Config) -> None:
    """Jupyter Book puts all scripts of _static on every page."""
    files = config.html_js_files
    files[:] = [file for file in files if not str(file).startswith("explorables/")]


def enter(translator: object, place: Place) -> None:
    translator.body.append(
        f'<div class="explorable" id="explorable-{place["name"]}" '
        f'data-figure="{place["figure"]}" hidden>\n'
    )


def leave(translator: object, place: Place) -> None:
    translator.body.append("</div>\n")


def skip(translator: object, place: Place) -> None:
    raise nodes.SkipNode


def load(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """The scripts, on the pages that need them."""
    names = [place["name"] for place in doctree.findall(Place)] if doctree else []
    if names:
        for name in (*SCRIPTS, *names):
            app.add_js_file(f"explorables/{name}.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    app.add_node(
        Place,
        html=(enter, leave),
        **dict.fromkeys(("latex", "text", "man", "texinfo"), (skip, None)),
    )
    app.add_directive("explorable", Explorable)
    app.connect("config-inited", not_everywhere)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True}
