"""The course editions of make course: students' notebooks run unanswered and solved;
what each edition holds.
"""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from packaging.requirements import Requirement

import course
from agent_dynamics.book.exercises import MIME, Exercise, exercises

pytestmark = pytest.mark.course

ROOT = Path(__file__).parents[2]
EXECUTED = Path(os.environ.get("BOOK_EXECUTED", ROOT / "_build/full/source"))
COURSE = EXECUTED.parent / "course"
CHAPTERS = sorted(path.stem for path in (ROOT / "book").glob("[0-9][0-9]-*.md"))
HELD_BACK = ["held-back", "held-back-to-hand-out"]  # in the instructor's edition


@cache
def notebook(edition: str, chapter: str) -> NotebookNode:
    return nbformat.read(COURSE / edition / f"{chapter}.ipynb", 4)


def graded(chapter: str) -> list[Exercise]:
    return [
        entry
        for entry in exercises().values()
        if entry.chapter == chapter and entry.tolerance is not None
    ]


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
        ) and "### Exercise " not in cell.source
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
    # pytest's factory is not made for threads: it is asked once, before they start.
    root = tmp_path_factory.mktemp("runs")

    def run(chapter: str) -> NotebookNode:
        folder = root / chapter
        folder.mkdir()
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
def test_student_notebook_runs_unanswered_and_passes_with_the_solutions(runs, chapter):
    cells = runs[chapter].result().cells
    unanswered = len(notebook("student", chapter).cells)
    assert [(name, verdict) for name, verdict, _ in verdicts(cells[:unanswered])] == [
        (entry.id, "unanswered") for entry in graded(chapter)
    ]
    checks = [cell for cell in cells[unanswered:] if tagged(cell, "exercise-check")]
    assert [(name, verdict) for name, verdict, _ in verdicts(checks)] == [
        (entry.id, "right") for entry in graded(chapter)
    ]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_student_edition_has_stubs_and_checks_but_no_solution_and_no_output(chapter):
    cells = notebook("student", chapter).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    sources = "\n".join(cell.source for cell in cells)
    assert solutions(chapter) and not any(
        cell.source in sources for cell in solutions(chapter)
    )
    assert "**Solution" not in sources and "Common mistake" not in sources
    for tag in ("exercise-stub", "exercise-check"):
        assert sum(tagged(cell, tag) for cell in cells) == len(graded(chapter))


@pytest.mark.parametrize("edition", ["student", "instructor"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_has_its_hints_folded_one_after_another(edition, chapter):
    listed = [entry.id for entry in exercises().values() if entry.chapter == chapter]
    opened = [
        cell for cell in notebook(edition, chapter).cells if "exercise" in cell.metadata
    ]
    assert [cell.metadata["exercise"] for cell in opened] == listed
    for cell in opened:
        steps = re.findall(
            r"^<details>\n<summary>Hint (\d)</summary>\n\n.+?\n\n</details>$",
            cell.source,
            re.DOTALL | re.MULTILINE,
        )
        assert steps in (["1"], ["1", "2"], ["1", "2", "3"]), cell.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_instructor_edition_has_solutions_with_outputs_minutes_and_mistakes(chapter):
    text = "\n".join(
        cell.source
        for cell in notebook("instructor", chapter).cells
        if cell.cell_type == "markdown"
    )
    for entry in (entry for entry in exercises().values() if entry.chapter == chapter):
        said = f"> {entry.difficulty.capitalize()}, {entry.minutes} minutes."
        if entry.mistake:
            said += f" *Common mistake:* {entry.mistake}"
        assert said in text
    assert all(cell.outputs for cell in solutions(chapter))


@pytest.mark.parametrize("edition", ["student", "instructor"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_notebook_reads_without_the_book(edition, chapter):
    start, install, *cells = notebook(edition, chapter).cells
    assert f"{edition.capitalize()} edition" in start.source
    assert "README.md" in start.source and "%pip install" in install.source
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
    held_back = HELD_BACK if edition == "instructor" else []
    assert [name for name in names if name.endswith(".ipynb")] == [
        f"{edition}/{file}"
        for file in sorted(f"{name}.ipynb" for name in [*CHAPTERS, *held_back])
    ]
    (wheel,) = (COURSE / edition).glob("*.whl")
    assert f"{edition}/{wheel.name}" in names
    course.main(EXECUTED, wheel, tmp_path)
    assert (tmp_path / f"{edition}.zip").read_bytes() == (
        COURSE / f"{edition}.zip"
    ).read_bytes()


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_every_file_of_the_zip_can_be_read_by_all_users_of_a_hub(edition):
    with zipfile.ZipFile(COURSE / f"{edition}.zip") as archive:
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_a_student_begins_with_one_page_on_each_system(edition):
    page = (COURSE / edition / "README.md").read_text(encoding="utf-8")
    for system in ("Linux", "macOS", "Windows"):
        assert re.search(f"^{system}", page, re.MULTILINE)
    for command in (
        "python3 -m venv course",
        "py -m venv course",
        "--extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt",
        "course\\Scripts\\pip install -r requirements.txt",
        "course/bin/jupyter lab",
    ):
        assert command in page
    held_back = HELD_BACK[:1] if edition == "instructor" else []
    listed = re.findall(r"^- `(\S+)\.ipynb`: \S", page, re.MULTILINE)
    assert listed == CHAPTERS + held_back
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    supported = Requirement(f"python{about['project']['requires-python']}").specifier
    named = set(re.findall(r"\b3\.\d+\b", page.partition("\n\n")[2].split(",\n")[0]))
    assert named and all(version in supported for version in named)


@pytest.mark.parametrize("edition", ["student", "instructor"])
def test_requirements_pin_what_the_notebooks_need_and_nothing_else(edition):
    text = (COURSE / edition / "requirements.txt").read_text(encoding="utf-8")
    package, *pins = text.splitlines()
    (wheel,) = (COURSE / edition).glob("*.whl")
    assert package == f"./{wheel.name}[language-models,sweeps]"
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert set(pins) <= set(locked)
    names = {pin.partition("==")[0] for pin in pins}
    assert {"torch", "jupyterlab", "ipykernel", "pandas", "openai"} <= names
    assert not {"Sphinx", "pytest", "papermill", "playwright", "ruff"} & names
