"""Exercises that check themselves: what a reader is told of an answer, and when a build
stops.
"""

import math

import numpy as np
import pytest
import torch

from agent_dynamics.book import exercises
from agent_dynamics.book.exercises import MIME, Exercise, SolutionFailed, grader

SOME = Exercise("ex-some", "01-setting", 10, "easy", 1e-3, "Too fast.")
PROOF = Exercise("ex-proof", "01-setting", 15, "medium")


@pytest.fixture(autouse=True)
def shown(monkeypatch) -> list[dict]:
    """What was displayed; the book knows two exercises."""
    bundles = []
    monkeypatch.delenv("AGENT_DYNAMICS_BUILD", raising=False)
    monkeypatch.setattr(
        exercises, "exercises", lambda: {SOME.id: SOME, PROOF.id: PROOF}
    )
    monkeypatch.setattr(
        exercises, "display", lambda bundle, raw: bundles.append(bundle)
    )
    return bundles


def verdict(
    shown: list[dict],
    answer: object,
    expected: object = np.array([1.0, 2.0]),
    **options,
) -> tuple[str, str]:
    """The verdict on an answer and what was said of it."""
    assert grader("ex-some", expected, **options)(answer) is None
    (bundle,) = shown
    assert bundle[MIME]["id"] == "ex-some"
    return bundle[MIME]["verdict"], bundle["text/plain"]


@pytest.mark.parametrize(
    "answer",
    [
        [1.0, 2.0],
        (1, 2),
        np.array([1.0, 2.0009]),
        torch.tensor([1.0, 2.0], requires_grad=True),
        [torch.tensor(1.0), torch.tensor(2.0)],
        torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
    ],
    ids=str,
)
def test_answer_within_the_tolerance_is_right(shown, answer):
    kind, said = verdict(shown, answer)
    assert kind == "right" and "may be by 0.001" in said


class NoArray:
    def __array__(self, *arguments, **named):
        raise TypeError("not an array")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([1.0, 2.1], "off by 0.1, and may be by 0.001"),
        ([1.0, math.nan], "not finite"),
        ([1.0, 2.0, 3.0], "shape is (3,), and must be (2,)"),
        ([[1.0], [2.0, 3.0]], "list of uneven parts"),
        (None, "is None, and must be real numbers"),
        ("one", "is str, and must be real numbers"),
        ([1j, 2.0], "must be real numbers"),
        ({"a": 1}, "is dict, and must be real numbers"),
        (NoArray(), "is NoArray, and must be numbers"),
    ],
    ids=str,
)
def test_wrong_answer_is_told_why(shown, answer, reason):
    kind, said = verdict(shown, answer)
    assert kind == "wrong" and reason in said


@pytest.mark.parametrize("answer", [..., [1.0, ...], (..., ...)], ids=str)
def test_stub_is_not_answered_yet(shown, answer):
    kind, said = verdict(shown, answer)
    assert kind == "unanswered" and "Not answered yet" in said


def stub(x):
    return ...


def pair_stub(x):
    return ..., ...


@pytest.mark.parametrize("answer", [stub, pair_stub])
def test_function_that_is_still_a_stub_is_not_answered_yet(shown, answer):
    # The measure would fail on an Ellipsis.
    assert (
        verdict(shown, answer, measure=lambda f: [f(x)[0] + 1 for x in (1, 2)])[0]
        == "unanswered"
    )


def raises(x):
    raise KeyError("nothing here\nnor there")


RAISED = raises.__code__.co_firstlineno + 1


def leaves(x):
    raise SystemExit(1)


def digs(x):
    return digs(x)


def yields(x):
    yield x


def forgets(x):
    x + 1


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (lambda x: x, "right", ""),
        (lambda x: 2 * x, "wrong", "off by 2"),
        (
            raises,
            "wrong",
            rf"KeyError: 'nothing here\nnor there', in line {RAISED}: `raise KeyError(",
        ),
        (leaves, "wrong", "stops with SystemExit: 1, in line"),
        (digs, "wrong", "stops with RecursionError"),
        (yields, "wrong", "The check cannot use it: TypeError"),
        (forgets, "wrong", "gives back None"),
        (3.0, "wrong", "The check cannot use it: TypeError"),
        (lambda: 1.0, "wrong", "stops with TypeError"),
    ],
    ids=[
        "right",
        "wrong",
        "raises",
        "leaves",
        "digs",
        "yields",
        "forgets to return",
        "no function",
        "takes no argument",
    ],
)
def test_function_is_called_on_the_inputs_of_the_check(shown, answer, kind, reason):
    found, said = verdict(
        shown, answer, measure=lambda f: [float(f(x)) for x in (1.0, 2.0)]
    )
    assert found == kind and reason in said
    assert "\n" not in said


def test_function_works_on_copies(shown):
    given = {
        "tensor": torch.ones(2),
        "array": np.ones(2),
        "list": [1.0, 1.0],
        "layer": torch.nn.Linear(2, 2),
    }

    def spoils(tensor, array, list, layer):
        tensor += 1
        array += 1
        list.append(1.0)
        torch.nn.init.zeros_(layer.weight)
        return tensor

    kind, _ = verdict(shown, spoils, [2.0, 2.0], measure=lambda f: f(**given))
    assert kind == "right"
    assert given["tensor"].tolist() == given["array"].tolist() == given["list"]
    assert given["layer"].weight.abs().min() > 0


FORMS = {
    "array": lambda x: np.linalg.solve(x, x)[0],
    "float32": lambda x: np.asarray(x)[0].astype(np.float32),
    "list": lambda x: [1, 0],
    "list of tensors": lambda x: [x[0, 0], x[0, 1]],
    "list of numbers of NumPy": lambda x: list(np.asarray(x)[0]),
    "single precision": lambda x: x[0].float(),
    "integers": lambda x: x[0].long(),
    "truths": lambda x: x[0] > 0,
    "with a gradient": lambda x: x[0].clone().requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_function_may_compute_in_any_numeric_form(shown, form):
    eye = torch.eye(2, dtype=torch.float64)

    def measure(function):
        return torch.stack([eye @ function(eye), function(eye).square()])

    kind, said = verdict(shown, FORMS[form], [[1, 0], [1, 0]], measure=measure)
    assert kind == "right", said


def test_each_part_of_a_tuple_may_have_a_form_of_its_own(shown):
    eye = torch.eye(2, dtype=torch.float64)

    def measure(function):
        matrix, vector = function(eye)
        return matrix @ vector

    kind, said = verdict(
        shown, lambda x: (np.eye(2), x[0].float()), [1, 0], measure=measure
    )
    assert kind == "right", said


def test_one_number_may_come_as_a_vector_of_one(shown):
    assert verdict(shown, torch.tensor([3.0]), expected=3.0)[0] == "right"


def test_build_stops_at_a_wrong_solution_and_not_at_a_stub(
    monkeypatch, tmp_path, shown
):
    monkeypatch.setenv("AGENT_DYNAMICS_BUILD", str(tmp_path))
    grade = grader("ex-some", 1.0)
    grade(...)
    grade(1.0)
    with pytest.raises(SolutionFailed, match="ex-some.*off by 1"):
        grade(2.0)
    assert [bundle[MIME]["verdict"] for bundle in shown] == [
        "unanswered",
        "right",
        "wrong",
    ]


def test_who_grades_by_what_raises_is_told_of_any_answer_that_is_not_right(shown):
    for answer in (..., 2.0):
        grader("ex-some", 1.0)(answer)
        with pytest.raises(AssertionError, match="ex-some is not answered right"):
            exercises.assert_right("ex-some")
    grader("ex-some", 1.0)(1.0)
    exercises.assert_right("ex-some")


def test_verdict_is_shown_to_notebooks_without_markup_of_the_readers_text(shown):
    def stops(x):
        raise ValueError("<b>")

    verdict(shown, stops, 1.0, measure=lambda f: f(1.0))
    assert "ValueError: &lt;b&gt;" in shown[0]["text/html"]
    assert "<b>" not in shown[0]["text/html"]


def test_exercise_that_is_not_listed_is_graded_by_what_it_says_itself(shown):
    held_back = Exercise("ex-held-back", "01-setting", 10, "easy", 0.5)
    grader(held_back, 1.0)(1.4)
    assert shown[0][MIME]["id"] == "ex-held-back"
    exercises.assert_right("ex-held-back")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("ex-none", 1.0), "exercise"),
        (("ex-proof", 1.0), "exercise"),
        ((PROOF, 1.0), "exercise"),
        (("ex-some", math.nan), "expected"),
    ],
)
def test_check_that_cannot_grade_raises(arguments, named):
    with pytest.raises(ValueError, match=f"^{named} was"):
        grader(*arguments)


def test_table_lists_every_exercise_and_adds_up_the_minutes(monkeypatch, shown):
    monkeypatch.undo()
    monkeypatch.setattr(exercises, "display", lambda bundle, raw: shown.append(bundle))
    exercises.show_exercises()
    table = shown[0]["text/plain"]
    entries = exercises.exercises().values()
    assert all(f"`{entry.id}`" in table for entry in entries)
    assert table.endswith(f"| {sum(entry.minutes for entry in entries)} |")
    assert table.index("| easy") < table.index("| medium") < table.index("| hard")


@pytest.mark.parametrize(
    "entry", exercises.exercises().values(), ids=lambda entry: entry.id
)
def test_every_entry_is_complete(entry):
    assert entry.minutes > 0
    assert entry.difficulty in ("easy", "medium", "hard")
    if entry.tolerance is not None:
        assert entry.tolerance > 0 and entry.mistake.endswith((".", "?"))
    assert "}`" not in entry.mistake  # a role, which a notebook would not show
