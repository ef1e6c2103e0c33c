"""An executed chapter as a notebook that reads and runs without the book.

The course and the site's downloads both begin here. A solution is told apart from the
rest: students do not get it, and a reader finds it at the end.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from install_cell import install_cell
from plain_markdown import Plain

GATE = re.compile(r"^(?=`{3,}\{(?:exercise|solution)-(?:start|end)\})", re.MULTILINE)
OPENING = re.compile(r"\{(exercise|solution)-start\} *(.*)\n(?::label: (\S+))?")
RECORD = "application/papermill.record/text/plain"
FOLDED = {"hide-input", "remove-input"}


@dataclass
class Part:
    """A cell of the plain notebook.

    Attributes:
        cell: the cell itself.
        opens: label of the exercise whose statement begins here.
        solves: label of the exercise whose solution this belongs to.
    """

    cell: NotebookNode
    opens: str | None = None
    solves: str | None = None


def glued(notebook: NotebookNode) -> dict[str, str]:
    """The numbers that the chapter's run gave to its prose."""
    return {
        output.metadata.scrapbook.name: ast.literal_eval(output.data[RECORD])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if RECORD in output.get("data", {})
    }


def parts(notebook: NotebookNode, plain: Plain) -> Iterator[Part]:
    """The chapter's cells, plain; Markdown is cut where exercises and solutions begin
    and end.
    """
    numbers, solves = glued(notebook), None
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield Part(plain_code(cell, plain, numbers), solves=solves)
            continue
        for piece in GATE.split(cell.source):
            opening, opens = OPENING.search(piece), None
            if opening and opening[1] == "solution":
                solves = opening[2].strip()
            elif opening:
                opens = opening[3]
            elif "{solution-end}" in piece:
                solves = None
            if text := plain.markdown(piece, numbers):
                yield Part(new_markdown_cell(text), opens, solves)


def plain_code(
    cell: NotebookNode, plain: Plain, numbers: Mapping[str, str]
) -> NotebookNode:
    """A code cell without roles and without the numbers that it gave to the prose."""
    outputs = [
        nbformat.from_dict(output)
        for output in cell.outputs
        if RECORD not in output.get("data", {})
    ]
    for output in outputs:
        data = output.get("data", {})
        for kind in {"text/html", "text/markdown", "text/plain"} & set(data):
            data[kind] = plain.roles(data[kind], numbers)
    tags = cell.metadata.get("tags", [])
    hidden = {"jupyter": {"source_hidden": True}} if FOLDED & set(tags) else {}
    return nbformat.from_dict(
        cell
        | {
            "source": plain.roles(cell.source, numbers),
            "outputs": outputs,
            "metadata": {"tags": tags, **hidden},
        }
    )


def assembled(notebook: NotebookNode, cells: list[NotebookNode]) -> NotebookNode:
    """A notebook of these cells, with what the executed one says of its kernel."""
    cells = [cell | {"id": f"cell-{number}"} for number, cell in enumerate(cells)]
    metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    return nbformat.from_dict(notebook | {"cells": cells, "metadata": metadata})


def download(notebook: NotebookNode, plain: Plain, wheel: str) -> NotebookNode:
    """The notebook that a reader takes from a page. Its first cell installs the
    package, and the solutions stand at its end.

    There they are out of sight in every editor, and running the whole notebook
    overwrites no answer before its check. Editors that fold show them folded.
    """
    chapter, solutions = [install_cell(notebook, wheel)], []
    for part in parts(notebook, plain):
        if part.cell.cell_type == "code":
            leave_figures_to_the_run(part.cell)
        if part.solves is None:
            chapter.append(part.cell)
        else:
            solutions.append(folded(part.cell))
    heading = [new_markdown_cell("## Solutions")] if solutions else []
    return assembled(notebook, chapter + heading + solutions)


def folded(cell: NotebookNode) -> NotebookNode:
    """A cell of a solution, its text or its code folded."""
    if cell.cell_type == "code":
        tags = [*cell.metadata.tags, "solution"]
        cell.metadata = {"tags": tags, "jupyter": {"source_hidden": True}}
        return cell
    heading = re.match(r"\*\*(Solution to .*?)\.\*\* ", cell.source)
    summary = heading[1] if heading else "The solution goes on"
    text = cell.source[heading.end() :] if heading else cell.source
    return new_markdown_cell(
        f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"
    )


def leave_figures_to_the_run(cell: NotebookNode) -> None:
    """What a run draws, or shows as a part of the book's page, is text until then."""
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "display_data" and {
            "text/markdown",
            "text/plain",
        } <= set(data):
            output.data = {"text/plain": data["text/plain"]}
