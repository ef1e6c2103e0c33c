"""The course: python _course.py EXECUTED WHEEL COURSE, from the executed chapters and
the package's wheel.

Writes student/ (no solutions, no outputs) and instructor/ (with both, and what
exercises.toml says), and a zip of each. Directives and roles of the book become
Markdown that a notebook shows.
"""

import ast
import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from agent_dynamics.book.exercises import MIME, exercises

DIRECTIVE = re.compile(
    r"^(`{3,}|:{3,})\{([\w:-]+)\} *(.*)\n((?::[\w-]+:.*\n)*)((?:.*\n)*?)\1$\n?",
    re.MULTILINE,
)
GATE = re.compile(r"^(?=`{3,}\{(?:exercise|solution)-(?:start|end)\})", re.MULTILINE)
EQUATION = re.compile(r"^\$\$ \((eq-[\w-]+)\)$", re.MULTILINE)
WORK = re.compile(
    r"^@\w+\{([\w-]+),.*?^  author = \{(.*?)\}.*?^  year = \{(\d+)\}",
    re.DOTALL | re.MULTILINE,
)
RECORD = "application/papermill.record/text/plain"

# What each notebook begins with.
START = Path(__file__).with_name("start.md").read_text(encoding="utf-8").rstrip()


def labels(chapters: dict[str, NotebookNode]) -> dict[str, str]:
    """What a reference to each label of the book reads: a chapter is a link, a work its
    authors and year.
    """
    book, found = Path(__file__).parent, {}
    for page in book.glob("*.md"):
        for label, title in re.findall(
            r"^\(([\w-]+)\)=\n# (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            found[label] = (
                f"[{title}]({page.stem}.ipynb)"
                if page.stem in chapters
                else f"*{title}*"
            )
    works = (book / "references.bib").read_text(encoding="utf-8")
    for key, authors, year in WORK.findall(works):
        found[key] = (
            f"{', '.join(author.split(',')[0] for author in authors.split(' and '))} "
            f"({year})"
        )
    for name, notebook in chapters.items():
        text = "\n".join(
            cell.source for cell in notebook.cells if cell.cell_type == "markdown"
        )
        for _, kind, title, options, _ in DIRECTIVE.findall(text):
            if label := re.search(r"^:label: (\S+)$", options, re.MULTILINE):
                kind = kind.removeprefix("prf:").removesuffix("-start").capitalize()
                found[label[1]] = f"{kind} *{title}*" if title else kind
        for number, label in enumerate(EQUATION.findall(text), start=1):
            found[label] = f"({int(name[:2])}.{number})"
    return found


def glued(notebook: NotebookNode) -> dict[str, str]:
    """The numbers that the chapter's run gave to its prose."""
    return {
        output.metadata.scrapbook.name: ast.literal_eval(output.data[RECORD])
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if RECORD in output.get("data", {})
    }


def markdown(text: str, known: dict[str, str], numbers: dict[str, str]) -> str:
    """The book's Markdown without directives and roles."""

    def directive(match: re.Match) -> str:
        _, kind, title, _, body = match.groups()
        if kind.endswith(("-start", "-end")):  # what they enclose follows
            openings = {
                "exercise-start": f"### Exercise: {title}\n\n",
                "solution-start": "**Solution.** ",
            }
            return openings.get(kind, "")
        if kind == "admonition":
            return "".join(
                f"> {line}\n"
                for line in (f"**{title}**", "", *body.strip().splitlines())
            )
        if kind == "prf:proof":
            return f"*Proof.* {body.strip()} $\\square$\n"
        if kind.startswith("prf:"):
            heading = kind.removeprefix("prf:").capitalize() + (
                f": {title}" if title else ""
            )
            return f"**{heading}**\n\n{body.strip()}\n"
        # These are the page's alone.
        return "" if kind in ("raw", "explorable") else body

    def role(match: re.Match) -> str:
        kind, content = match.groups()
        if kind == "glue:text":
            return numbers.get(content, "(run to see)")
        said, _, label = content.removesuffix(">").rpartition("<")
        return said.strip() or known.get(label, label)

    text = DIRECTIVE.sub(directive, text)
    text = EQUATION.sub(lambda match: f"\\tag{{{known[match[1]][1:-1]}}}\n$$", text)
    text = re.sub(r"\{([a-z:]+)\}`([^`]+)`", role, text)
    return re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE).strip()


def edition(
    notebook: NotebookNode, known: dict[str, str], start: str, solved: bool
) -> NotebookNode:
    """A chapter for instructors (solved) or for students."""
    numbers, listed, verdicts = glued(notebook), exercises(), {}
    cells, in_solution = [new_markdown_cell(start)], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in GATE.split(cell.source):
                in_solution = "{solution-start}" in part or (
                    in_solution and "{solution-end}" not in part
                )
                text = markdown(part, known, numbers)
                label = re.search(r"\{exercise-start\}.*\n:label: (\S+)", part)
                if solved and label and label[1] in listed:
                    entry = listed[label[1]]
                    said = f"{entry.difficulty.capitalize()}, {entry.minutes} minutes."
                    text += f"\n\n> {said} *Common mistake:* {entry.mistake}"
                if text and (solved or not in_solution):
                    cells.append(new_markdown_cell(text))
            continue
        outputs = [
            output for output in cell.outputs if RECORD not in output.get("data", {})
        ]
        for output in outputs:
            if verdict := output.get("data", {}).get(MIME):
                verdicts[verdict["id"]] = verdict["verdict"]
            if output.get("data", {}).get("text/markdown", "").startswith("```{"):
                del output.data["text/markdown"]  # for the book's page
        if solved or not in_solution:
            tags = cell.metadata.get("tags", [])
            hidden = (
                {"jupyter": {"source_hidden": True}} if "hide-input" in tags else {}
            )
            cell = nbformat.from_dict(cell | {"metadata": {"tags": tags, **hidden}})
            cell.outputs, cell.execution_count = (
                (outputs, cell.execution_count) if solved else ([], None)
            )
            cells.append(cell)
    if failed := [
        exercise for exercise, verdict in verdicts.items() if verdict != "right"
    ]:
        sys.exit(
            f"the last answer to {', '.join(failed)} was not right; the solution "
            "must assign it and grade it"
        )
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    return nbformat.from_dict(notebook | {"cells": cells, "metadata": metadata})


def main(executed: Path, wheel: Path, course: Path) -> None:
    chapters = {
        path.stem: nbformat.read(path, 4)
        for path in sorted(executed.glob("[0-9][0-9]-*.ipynb"))
    }
    known = labels(chapters)
    for kind in ("student", "instructor"):
        shutil.rmtree(course / kind, ignore_errors=True)
        (course / kind).mkdir(parents=True)
        shutil.copy(wheel, course / kind)
        start = START.format(edition=f"{kind.capitalize()} edition", wheel=wheel.name)
        for name, notebook in chapters.items():
            nbformat.write(
                edition(notebook, known, start, kind == "instructor"),
                course / kind / f"{name}.ipynb",
            )
        with zipfile.ZipFile(
            course / f"{kind}.zip", "w", zipfile.ZIP_DEFLATED
        ) as archive:
            for path in sorted((course / kind).iterdir()):
                # A fixed date, so that one course is always one file.
                entry = zipfile.ZipInfo(f"{kind}/{path.name}", (1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
