"""The course in nbgrader's form: an assignment a chapter, with its metadata, points and
hidden tests.

Here nbgrader begins: `generate_assignment` takes the worked solutions and the hidden
tests out again, and `autograde` puts the tests back.
"""

import ast
import re

from nbformat import NotebookNode

from agent_dynamics.book.exercises import exercises

CHECKED = re.compile(r'grader\(\s*"([\w-]+)"')
SOLUTION = "{stub}\n\n### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
HIDDEN = """{check}

### BEGIN HIDDEN TESTS
from agent_dynamics.book.exercises import assert_right

assert_right("{exercise}")
### END HIDDEN TESTS"""
CONFIG = """c = get_config()  # nbgrader calls this file, and knows the name
c.CourseDirectory.course_id = "agent-dynamics"
c.ClearSolutions.code_stub = {"python": "# Put your answer in place of the dots."}
c.ExecutePreprocessor.timeout = 1200  # seconds a cell; chapters measure
"""


def mark(cell: NotebookNode, name: str, **said: object) -> None:
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "cell_type": "code",
        "grade_id": name,
        "grade": False,
        "solution": False,
        "locked": False,
        "task": False,
    } | said


def assignment(student: NotebookNode, instructor: NotebookNode) -> NotebookNode:
    """The student's notebook with the instructor's solutions between nbgrader's
    marks. An exercise's points are its minutes.
    """
    answers = solutions(instructor)
    stub = None
    for cell in student.cells:
        tags = cell.metadata.get("tags", [])
        if "exercise-stub" in tags:
            stub = cell
        elif "exercise-check" in tags and stub is not None:
            exercise = CHECKED.search(cell.source)[1]
            answer = answering(stub.source, answers[exercise])
            stub.source = SOLUTION.format(stub=stub.source, solution=answer)
            mark(stub, f"answer-{exercise}", solution=True)
            cell.source = HIDDEN.format(check=cell.source, exercise=exercise)
            points = exercises()[exercise].minutes
            mark(cell, f"check-{exercise}", grade=True, locked=True, points=points)
    return student


def solutions(instructor: NotebookNode) -> dict[str, str]:
    """The code of each worked solution: what stands between a check and the next
    exercise.
    """
    found: dict[str, str] = {}
    exercise = None
    for cell in instructor.cells:
        if "exercise-check" in cell.metadata.get("tags", []):
            exercise = CHECKED.search(cell.source)[1]
            found[exercise] = ""
        elif "### Exercise " in cell.source:
            exercise = None
        elif exercise and cell.cell_type == "code":
            found[exercise] += cell.source + "\n"
    return found


def answering(stub: str, solution: str) -> str:
    """The functions of a solution, and what it assigns to the names of the stub; not
    what it shows with them, which may need the check that follows.
    """
    asked = {name for node in ast.parse(stub).body for name in assigned(node)}
    kept = [
        ast.get_source_segment(solution, node)
        for node in ast.parse(solution).body
        if isinstance(node, ast.FunctionDef) or asked & assigned(node)
    ]
    return "\n\n\n".join(kept)


def assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {name.id for name in targets if isinstance(name, ast.Name)}
