"""nbgrader's own commands on an assignment of make course: a right, a wrong and an
empty submission of a short chapter.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_course import CHAPTERS, COURSE

from agent_dynamics.book.exercises import exercises

pytestmark = pytest.mark.course

CHAPTER = "01-setting"
FULL = sum(entry.minutes for entry in exercises().values() if entry.chapter == CHAPTER)
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*)\n### END SOLUTION", re.DOTALL)

# What an answer comes to.
LAST = re.compile(r"^( *return .*|\w+ = .*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """The course after `generate_assignment`, three submissions and `autograde`."""
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    shutil.copytree(COURSE / "nbgrader", folder)
    grade(folder, "generate_assignment")
    released = folder / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    source = nbformat.read(folder / "source" / CHAPTER / f"{CHAPTER}.ipynb", 4)
    answers = {
        cell.metadata.nbgrader.grade_id: SOLUTION.search(cell.source)[1]
        for cell in source.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for student in ("right", "wrong", "empty"):
        notebook = nbformat.read(released, 4)
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in answers and student != "empty":
                cell.source = answers[name]
            if name in answers and student == "wrong":
                cell.source = LAST.sub(r"\1 * 2", cell.source)
        place = folder / "submitted" / student / CHAPTER
        place.mkdir(parents=True)
        nbformat.write(notebook, place / released.name)
    grade(folder, "autograde")
    return folder


def grade(folder: Path, command: str) -> None:
    commands = Path(sys.executable).parent  # it calls alembic by name
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", command, CHAPTER],
        cwd=folder,
        env=os.environ | {"PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_graded_exercise_has_an_answer_and_a_check_worth_its_minutes(chapter):
    source = COURSE / "nbgrader" / "source" / chapter / f"{chapter}.ipynb"
    marked = [
        cell.metadata.nbgrader
        for cell in nbformat.read(source, 4).cells
        if "nbgrader" in cell.metadata
    ]
    graded = [entry for entry in exercises().values() if entry.chapter == chapter]
    assert [about.grade_id for about in marked] == [
        f"{part}-{entry.id}" for entry in graded for part in ("answer", "check")
    ]
    assert [about.points for about in marked if about.grade] == [
        entry.minutes for entry in graded
    ]


def test_what_is_released_has_stubs_and_no_solution_nor_hidden_test(course):
    released = course / "release" / CHAPTER / f"{CHAPTER}.ipynb"
    text = released.read_text(encoding="utf-8")
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert "assert_right" not in text
    cells = nbformat.read(released, 4).cells
    answers = [c for c in cells if c.metadata.get("nbgrader", {}).get("solution")]
    assert answers and all("..." in cell.source for cell in answers)


@pytest.mark.parametrize(
    ("student", "points"), [("right", FULL), ("wrong", 0), ("empty", 0)]
)
def test_points_are_the_minutes_of_the_exercises_that_are_right(
    course, student, points
):
    from nbgrader.api import Gradebook  # installed by make test-course alone

    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        submission = gradebook.find_submission(CHAPTER, student)
        assert (submission.score, submission.max_score) == (points, FULL)
