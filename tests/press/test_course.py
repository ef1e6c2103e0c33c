"""The course editions of make course: students' notebooks run unanswered and solved;
what each edition holds.
"""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from agent_dynamics.book.exercises import MIME, exercises

pytestmark = pytest.mark.course

ROOT = Path(__file__).parents[2]
COURSE = ROOT / "_build" / "course"
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("[0-9][0-9]-*.md"))


@cache
def notebook(edition: str, chapter: str) -> NotebookNode:
    return nbformat.read(COURSE / edition / f"{chapter}.ipynb", 4)


def tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def exercise_cells(chapter: str) -> list[NotebookNode]:
    """The instructor's cells from the heading Exercises on."""
    cells = notebook("instructor", chapter).cells
    (heading,) = (
        i
        for i, cell in enumerate(cells)
        if re.search("^## Exercises$", cell.source, re.MULTILINE)
    )
    return cells[heading:]


def solutions(chapter: str) -> list[NotebookNode]:
    """The worked solutions' code: what stands between a check and the next exercise."""
    found, solving = [], False
    for cell in exercise_cells(chapter):
        solving = (
            solving or tagged(cell, "exercise-check")
        ) and "### Exercise: " not in cell.source
        if solving and cell.cell_type == "code" and not tagged(cell, "exercise-check"):
            found.append(cell)
    return found


def solved(chapter: str) -> NotebookNode:
    """The student's notebook, followed by its exercises once more with the solutions in
    place of the stubs.
    """
    student = notebook("student", chapter)
    again, check = [], None
    for cell in exercise_cells(chapter):
        if tagged(cell, "exercise-check"):
            again.append(cell)
            check = len(again) - 1
        elif cell in solutions(chapter):
            again.insert(check, cell)
            check += 1
        elif cell.cell_type == "code" and not tagged(cell, "exercise-stub"):
            again.append(cell)
    cells = [
        cell | {"id": f"run-{number}"}
        for number, cell in enumerate(student.cells + again)
    ]
    return nbformat.from_dict(student | {"cells": cells})


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> dict[str, Future]:
    """Every chapter's notebook of `solved`, executed; as many at once as there are
    processors.
    """

    def run(chapter: str) -> NotebookNode:
        folder = tmp_path_factory.mktemp(chapter)
        nbformat.write(solved(chapter), folder / "in.ipynb")
        papermill = [
            sys.executable,
            "-m",
            "papermill",
            "--no-progress-bar",
            "--log-level",
            "ERROR",
        ]
        done = subprocess.run(
            [*papermill, "in.ipynb", "out.ipynb"],
            cwd=folder,
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return nbformat.read(folder / "out.ipynb", 4)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {chapter: pool.submit(run, chapter) for chapter in CHAPTERS}


def verdicts(cells: list[NotebookNode]) -> list[tuple[str, str, str]]:
    """Exercise, verdict and what was said, in order."""
    shown = [
        output.data
        for cell in cells
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]
    return [
        (data[MIME]["id"], data[MIME]["verdict"], data["text/plain"]) for data in shown
    ]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_student_notebook_gives_hints_unanswered_and_passes_with_the_solutions(
    runs, chapter
):
    cells = runs[chapter].result().cells
    unanswered = len(notebook("student", chapter).cells)
    graded = [entry for entry in exercises().values() if entry.chapter == chapter]
    first = verdicts(cells[:unanswered])
    assert [(name, verdict) for name, verdict, _ in first] == [
        (entry.id, "unanswered") for entry in graded
    ]
    assert all(
        entry.hint in said for entry, (_, _, said) in zip(graded, first, strict=True)
    )
    checks = [cell for cell in cells[unanswered:] if tagged(cell, "exercise-check")]
    assert [(name, verdict) for name, verdict, _ in verdicts(checks)] == [
        (entry.id, "right") for entry in graded
    ]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_student_edition_has_stubs_and_checks_but_no_solution_and_no_output(chapter):
    cells = notebook("student", chapter).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    sources = "\n".join(cell.source for cell in cells)
    assert solutions(chapter) and not any(
        cell.source in sources for cell in solutions(chapter)
    )
    assert "**Solution.**" not in sources and "Common mistake" not in sources
    graded = [entry for entry in exercises().values() if entry.chapter == chapter]
    for tag in ("exercise-stub", "exercise-check"):
        assert sum(tagged(cell, tag) for cell in cells) == len(graded)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_instructor_edition_has_solutions_with_outputs_minutes_and_mistakes(chapter):
    text = "\n".join(
        cell.source
        for cell in notebook("instructor", chapter).cells
        if cell.cell_type == "markdown"
    )
    for entry in (entry for entry in exercises().values() if entry.chapter == chapter):
        said = (
            f"{entry.difficulty.capitalize()}, {entry.minutes} minutes. *Common "
            f"mistake:* {entry.mistake}"
        )
        assert said in text
    assert all(cell.outputs for cell in solutions(chapter))


@pytest.mark.parametrize("edition", ["student", "instructor"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_reads_without_the_book(edition, chapter):
    start, *cells = notebook(edition, chapter).cells
    assert f"{edition.capitalize()} edition" in start.source and ".whl" in start.source
    for cell in cells:
        if cell.cell_type == "markdown":
            left = re.findall(
                r"^`{3,}\{.*|^:{3,}.*|\{[a-z:-]+\}`.*|^\([\w-]+\)=|^:\w+:.*",
                cell.source,
                re.MULTILINE,
            )
            assert left == []
    linked = {
        name
        for cell in cells
        for name in re.findall(r"\]\(([\w-]+)\.ipynb\)", cell.source)
    }
    assert linked <= set(CHAPTERS)


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_zip_holds_the_edition_and_the_package_and_is_the_same_each_time(
    edition, tmp_path
):
    with zipfile.ZipFile(COURSE / f"{edition}.zip") as archive:
        names = archive.namelist()
    assert [name for name in names if name.endswith(".ipynb")] == [
        f"{edition}/{name}.ipynb" for name in CHAPTERS
    ]
    (wheel,) = (COURSE / edition).glob("*.whl")
    assert f"{edition}/{wheel.name}" in names
    specification = importlib.util.spec_from_file_location(
        "course", ROOT / "press" / "course.py"
    )
    builder = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(builder)
    builder.main(Path(os.environ["BOOK_EXECUTED"]), wheel, tmp_path)
    assert (tmp_path / f"{edition}.zip").read_bytes() == (
        COURSE / f"{edition}.zip"
    ).read_bytes()
