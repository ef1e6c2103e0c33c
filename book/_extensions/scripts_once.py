"""Sphinx: load each script once. What an extension adds while pages are read is otherwise entered twice."""

from sphinx.application import Sphinx


def once(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    scripts = {(script.filename or "", script.attributes.get("body")): script for script in context["script_files"]}
    context["script_files"][:] = scripts.values()


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", once, priority=900)
    return {"parallel_read_safe": True}
