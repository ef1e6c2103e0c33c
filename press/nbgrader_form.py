"""The course in nbgrader's form: an assignment a chapter, with its metadata, points and
hidden tests. What no check grades is a task, which is marked by hand.

Here nbgrader begins: `generate_assignment` takes the worked solutions, the hidden tests
and the marking schemes out again, and `autograde` puts the tests back.
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
TASK = """{task}

=== BEGIN MARK SCHEME ===

{solution}

=== END MARK SCHEME ==="""
CONFIG = """c = get_config()  # nbgrader calls this file, and knows the name
c.CourseDirectory.course_id = "agent-dynamics"
c.ClearSolutions.code_stub = {"python": "# Put your answer in place of the dots."}
c.ExecutePreprocessor.timeout = 1200  # seconds a cell; chapters measure
"""


def mark(cell: NotebookNode, name: str, **said: object) -> None:
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "cell_type": cell.cell_type,
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
    answers, proofs = solutions(instructor, "code"), solutions(instructor, "markdown")
    stub = None
    for cell in student.cells:
        tags = cell.metadata.get("tags", [])
        asked = exercises().get(cell.metadata.get("exercise", ""))
        if asked and asked.tolerance is None:
            cell.source = TASK.format(task=cell.source, solution=proofs[asked.id])
            points = asked.minutes
            mark(cell, f"task-{asked.id}", task=True, locked=True, points=points)
        elif "exercise-stub" in tags:
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


def solutions(instructor: NotebookNode, kind: str) -> dict[str, str]:
    """The cells of one kind of each worked solution, by the exercise's label."""
    found: dict[str, list[str]] = {}
    for cell in instructor.cells:
        if cell.cell_type == kind and "solves" in cell.metadata:
            found.setdefault(cell.metadata["solves"], []).append(cell.source)
    return {label: "\n\n".join(sources) for label, sources in found.items()}


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
