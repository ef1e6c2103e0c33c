"""The code cell with which a notebook begins that is taken along: it installs the
package, and does nothing where that is installed.

A wheel beside the notebook comes first, then the published site, whose address the
build may know. An installed torch stays as it is where it fits the package; where there
is none pip gets the CPU build, which is all that the book needs.
"""

import json
from pathlib import Path
from string import Template

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from extras import PACKAGE, extras
from publication import address

TEMPLATE = Template(
    Path(__file__).with_name("install_cell.txt").read_text(encoding="utf-8").rstrip()
)
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
FILES = "files"  # the site's folder of what a reader takes along


def install_cell(notebook: NotebookNode, wheel: str) -> NotebookNode:
    needed = extras(notebook)
    modules = [PACKAGE, *(name for listed in needed.values() for name in listed)]
    source = TEMPLATE.substitute(
        modules=json.dumps(modules),
        wheel=wheel,
        address=address() and f"{address()}{FILES}/{wheel}",
        extras=f"[{','.join(needed)}]" if needed else "",
        torch_index=TORCH_INDEX,
    )
    return new_code_cell(source, metadata={"tags": ["install"]})
