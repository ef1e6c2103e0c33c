"""The course: python course.py EXECUTED WHEEL COURSE, from the executed chapters and
the package's wheel.

Writes student/ (no solutions, no outputs) and instructor/ (with both, what
exercises.toml says, and the exercises held back), and a zip of each. In both a README
says how to begin, and requirements.txt pins what the notebooks need. nbgrader/ is a
course for nbgrader, made of the two.
"""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from agent_dynamics.book.exercises import MIME, exercises
from extras import extras, project
from install_cell import TORCH_INDEX, install_cell
from nbgrader_form import CONFIG, assignment
from plain_markdown import Plain, targets
from plain_notebook import Part, assembled, parts
from requirements import pins

HERE = Path(__file__).parent
# What each notebook begins with, and what is read before all of them.
START = (HERE / "start.md").read_text(encoding="utf-8").rstrip()
README = (HERE / "student_readme.md").read_text(encoding="utf-8")
HELD_BACK = "held-back"  # a notebook beside the executed chapters' folder


def edition(
    notebook: NotebookNode, plain: Plain, start: str, wheel: str, solved: bool
) -> NotebookNode:
    """A chapter for instructors (solved) or for students."""
    cells, verdicts = [new_markdown_cell(start), install_cell(notebook, wheel)], {}
    for part in parts(notebook, plain):
        cell = part.cell
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if verdict := data.get(MIME):
                verdicts[verdict["id"]] = verdict["verdict"]
            if data.get("text/markdown", "").startswith("```{"):
                del data["text/markdown"]  # for the book's page
        if part.solves and not solved:
            continue
        cell.metadata |= {
            key: label
            for key, label in (("exercise", part.opens), ("solves", part.solves))
            if label
        }
        if solved:
            cell.source += remark(part)
        elif cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cells.append(cell)
    if failed := [name for name, verdict in verdicts.items() if verdict != "right"]:
        sys.exit(
            f"the last answer to {', '.join(failed)} was not right; the solution "
            "must assign it and grade it"
        )
    return assembled(notebook, cells)


def remark(part: Part) -> str:
    """What an instructor is told of the exercise that begins here."""
    entry = exercises().get(part.opens or "")
    if not entry:
        return ""
    said = f"{entry.difficulty.capitalize()}, {entry.minutes} minutes."
    mistake = f" *Common mistake:* {entry.mistake}" if entry.mistake else ""
    return f"\n\n> {said}{mistake}"


def contents(chapters: dict[str, NotebookNode]) -> str:
    """The notebooks with their titles, as a list."""
    titles = {
        name: re.search(r"^# (.*)$", notebook.cells[0].source, re.MULTILINE)[1]
        for name, notebook in chapters.items()
    }
    return "\n".join(f"- `{name}.ipynb`: {title}" for name, title in titles.items())


def requirements(needed: list[str], package: str) -> list[str]:
    """What pip installs for all notebooks: the package with these extras, JupyterLab,
    and what they depend on.
    """
    about = project()
    asked = [*about["dependencies"]]
    for extra in ("lab", *needed):
        asked += about["optional-dependencies"][extra]
    lock = (HERE.parent / "requirements.lock").read_text(encoding="utf-8")
    return [package, *pins(lock, asked)]


def pack(folder: Path, archive: Path) -> None:
    """A zip of the folder, the same each time, that every user of a hub can read."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(f"{folder.name}/{path.name}", (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix: what follows are its permissions
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)


def main(executed: Path, wheel: Path, course: Path) -> None:
    chapters = {
        path.stem: nbformat.read(path, 4)
        for path in sorted(executed.glob("[0-9][0-9]-*.ipynb"))
    }
    held_back = {HELD_BACK: nbformat.read(executed.parent / f"{HELD_BACK}.ipynb", 4)}
    plain = Plain(targets(), lambda page: f"{page}.ipynb" if page in chapters else None)
    needed = sorted(
        {extra for chapter in chapters.values() for extra in extras(chapter)}
    )
    package = f"./{wheel.name}" + (f"[{','.join(needed)}]" if needed else "")
    for kind, notebooks in (
        ("student", chapters),
        ("instructor", chapters | held_back),
    ):
        shutil.rmtree(course / kind, ignore_errors=True)
        (course / kind).mkdir(parents=True)
        shutil.copy(wheel, course / kind)
        said = {
            "edition": f"{kind.capitalize()} edition",
            "torch_index": TORCH_INDEX,
        }
        readme = README.format(
            chapters=contents(notebooks), package=package, wheel=wheel.name, **said
        )
        (course / kind / "README.md").write_text(readme, encoding="utf-8")
        (course / kind / "requirements.txt").write_text(
            "\n".join(requirements(needed, package)) + "\n", encoding="utf-8"
        )
        start = START.format(**said)
        for name, notebook in notebooks.items():
            solved = kind == "instructor"
            made = edition(notebook, plain, start, wheel.name, solved)
            nbformat.write(made, course / kind / f"{name}.ipynb")
            if name == HELD_BACK:
                made = edition(notebook, plain, start, wheel.name, solved=False)
                nbformat.write(made, course / kind / f"{name}-to-hand-out.ipynb")
        pack(course / kind, course / f"{kind}.zip")
    shutil.rmtree(course / "nbgrader", ignore_errors=True)
    for name in chapters:
        editions = [
            nbformat.read(course / kind / f"{name}.ipynb", 4)
            for kind in ("student", "instructor")
        ]
        folder = course / "nbgrader" / "source" / name
        folder.mkdir(parents=True)
        nbformat.write(assignment(*editions), folder / f"{name}.ipynb")
    (course / "nbgrader" / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
