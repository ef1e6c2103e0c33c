"""Sphinx: names of the package in the code of chapters are links to the reference.

sphinx-codeautolink makes them. It takes for granted that each section has a title,
which those in results and exercises do not.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def leave_section(self: CodeBlockAnalyser, node: nodes.section) -> None:
    if isinstance(node[0], nodes.title):
        self.title_stack.pop()


def setup(app: Sphinx) -> dict:
    CodeBlockAnalyser.depart_section = leave_section
    app.setup_extension("sphinx_codeautolink")
    return {"parallel_read_safe": True}
