"""Sphinx: an exercise says in its first line how hard it is and how long it takes, from
exercises.toml.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx_exercise.nodes import exercise_enumerable_node, exercise_title

from agent_dynamics.book.exercises import exercises


def say(app: Sphinx, doctree: nodes.document) -> None:
    for exercise in doctree.findall(exercise_enumerable_node):
        if entry := exercises().get(exercise.get("label", "")):
            effort = f"{entry.difficulty.capitalize()}, {entry.minutes} minutes."
            line = nodes.paragraph("", "", nodes.emphasis("", effort))
            title = exercise.next_node(exercise_title)
            exercise.insert(exercise.index(title) + 1, line)


def setup(app: Sphinx) -> dict:
    app.setup_extension("sphinx_exercise")
    app.connect("doctree-read", say, priority=950)
    return {"parallel_read_safe": True}
