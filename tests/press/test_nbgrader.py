"""nbgrader's own commands on assignments of make course: a right, a wrong and an empty
submission of some short chapters.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from test_course import CHAPTERS, COURSE

from agent_dynamics.book.exercises import exercises

pytestmark = pytest.mark.course

GRADED = ["01-setting", "03-aligned"]
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*)\n### END SOLUTION", re.DOTALL)

# What an answer comes to.
LAST = re.compile(r"^( *return .*|\w+ = .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """The course after `generate_assignment`, three submissions and `autograde`."""
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    shutil.copytree(COURSE / "nbgrader", folder)
    for chapter in GRADED:
        grade(folder, "generate_assignment", chapter)
        submit(folder, chapter)
        grade(folder, "autograde", chapter)
    return folder


def submit(folder: Path, chapter: str) -> None:
    """What three students make of the chapter: one fills in the worked solutions, one
    something else, one nothing.
    """
    released = folder / "release" / chapter / f"{chapter}.ipynb"
    answers = {
        cell.metadata.nbgrader.grade_id: SOLUTION.search(cell.source)[1]
        for cell in marked(folder, "source", chapter)
        if cell.metadata.nbgrader.solution
    }
    for student in ("right", "wrong", "empty"):
        notebook = nbformat.read(released, 4)
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in answers and student != "empty":
                cell.source = answers[name]
            if name in answers and student == "wrong":
                cell.source = LAST.sub(r"\1 * 2", cell.source)
        place = folder / "submitted" / student / chapter
        place.mkdir(parents=True)
        nbformat.write(notebook, place / released.name)


def grade(folder: Path, command: str, chapter: str) -> None:
    commands = Path(sys.executable).parent  # it calls alembic by name
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", command, chapter],
        cwd=folder,
        env=os.environ | {"PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def marked(course: Path, step: str, chapter: str) -> list[NotebookNode]:
    """The cells that nbgrader knows, in source/ or release/."""
    notebook = nbformat.read(course / step / chapter / f"{chapter}.ipynb", 4)
    return [cell for cell in notebook.cells if "nbgrader" in cell.metadata]


def minutes(chapter: str, graded: bool) -> int:
    """Of all exercises, or of those that a check grades."""
    return sum(
        entry.minutes
        for entry in exercises().values()
        if entry.chapter == chapter and (entry.tolerance is not None or not graded)
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_is_graded_by_its_check_or_by_hand_and_worth_its_minutes(
    chapter,
):
    cells = [
        cell.metadata.nbgrader
        for cell in marked(COURSE / "nbgrader", "source", chapter)
    ]
    listed = [entry for entry in exercises().values() if entry.chapter == chapter]
    assert [about.grade_id for about in cells] == [
        f"{part}-{entry.id}"
        for entry in listed
        for part in (["task"] if entry.tolerance is None else ["answer", "check"])
    ]
    assert [about.points for about in cells if about.grade or about.task] == [
        entry.minutes for entry in listed
    ]


@pytest.mark.parametrize("chapter", GRADED)
def test_what_is_released_has_questions_and_stubs_and_no_solution(course, chapter):
    released = course / "release" / chapter / f"{chapter}.ipynb"
    text = released.read_text(encoding="utf-8")
    for word in ("SOLUTION", "HIDDEN", "MARK SCHEME", "**Solution", "assert_right"):
        assert word not in text
    cells = marked(course, "release", chapter)
    answers = [cell for cell in cells if cell.metadata.nbgrader.solution]
    assert answers and all("..." in cell.source for cell in answers)
    tasks = [cell for cell in cells if cell.metadata.nbgrader.task]
    assert tasks and all(cell.source.startswith("### Exercise ") for cell in tasks)


@pytest.mark.parametrize("chapter", GRADED)
def test_who_marks_a_task_has_the_worked_solution_as_the_scheme(course, chapter):
    marking = course / "autograded" / "empty" / chapter / f"{chapter}.ipynb"
    tasks = [
        cell
        for cell in nbformat.read(marking, 4).cells
        if cell.metadata.get("nbgrader", {}).get("task")
    ]
    assert tasks
    for cell in tasks:
        _, scheme = cell.source.split("=== BEGIN MARK SCHEME ===")
        assert scheme.strip().startswith("**Solution to Exercise ")


@pytest.mark.parametrize("student", ["right", "wrong", "empty"])
@pytest.mark.parametrize("chapter", GRADED)
def test_points_are_the_minutes_of_the_exercises_that_are_right(
    course, chapter, student
):
    from nbgrader.api import Gradebook  # installed by make test-course alone

    points = minutes(chapter, graded=True) if student == "right" else 0
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        submission = gradebook.find_submission(chapter, student)
        assert (submission.score, submission.max_score) == (
            points,
            minutes(chapter, graded=False),
        )
        assert submission.needs_manual_grade
