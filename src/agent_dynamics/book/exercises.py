"""Exercises that check themselves: an answer is graded within a tolerance.

`exercises.toml` lists every exercise. A chapter says what an answer is compared with; a
reader is told whether it is right, and a build of the book stops at a worked solution
that is not.
"""

from __future__ import annotations

import html
import tomllib
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from importlib.resources import files
from inspect import isfunction
from typing import Any

import numpy as np
import torch
from IPython.display import display
from numpy.typing import ArrayLike

from .. import _checks
from . import build
from .figures import COLOURS
from .glue import readable

MIME = "application/vnd.agent-dynamics.exercise+json"
# What a verdict is called, and its colour in a notebook.
LOOKS = {
    "right": ("Correct", COLOURS["third"]),
    "unanswered": ("Not answered yet", COLOURS["muted"]),
    "wrong": ("Not right yet", COLOURS["U"]),
}


@dataclass(frozen=True)
class Exercise:
    """An exercise, and how it is graded.

    Attributes:
        id: its label in the book.
        chapter: stem of its chapter.
        minutes: what it takes a student who has read the chapter.
        difficulty: "easy", "medium" or "hard".
        tolerance: the largest |answer - expected|, entry by entry, of a right answer;
            None where no check grades it, as a proof.
        mistake: what goes wrong most often, for instructors; Markdown with mathematics,
            no roles.
    """

    id: str
    chapter: str
    minutes: int
    difficulty: str
    tolerance: float | None = None
    mistake: str = ""


_last: dict[str, str] = {}  # the verdict on each exercise's last answer


class SolutionFailed(AssertionError):
    """A worked solution that its own check rejects, in a build of the book."""


class _Unanswered(Exception):
    """The reader's function still returns the stub's Ellipsis."""


class _Wrong(Exception):
    """Says why the answer is not right."""


def exercises() -> dict[str, Exercise]:
    """Every exercise by id, in the order of `exercises.toml`."""
    text = files(__package__).joinpath("exercises.toml").read_text(encoding="utf-8")
    return {key: Exercise(key, **entry) for key, entry in tomllib.loads(text).items()}


def grader(
    exercise: str | Exercise,
    expected: ArrayLike | torch.Tensor,
    measure: Callable[[Any], Any] = lambda answer: answer,
) -> Callable[[object], None]:
    """A function that grades an answer and shows the verdict. It never raises for what
    a reader wrote.

    Args:
        exercise: an id of `exercises.toml`, which holds the tolerance, or an exercise
            that is not listed there.
        expected: what a right answer comes to, any shape, finite.
        measure: what of the answer is compared; it calls the answer where that is a
            function.

    Raises:
        ValueError: an exercise without a tolerance, an id that `exercises.toml` does
            not have, an expected value that is not finite.

    The returned function raises SolutionFailed in a build of the book, where a wrong
    answer can only be that of a worked solution.
    """
    entry = exercises().get(exercise) if isinstance(exercise, str) else exercise
    if entry is None or entry.tolerance is None:
        asked = "graded, and in exercises.toml where it is named"
        raise _checks.bad("exercise", repr(exercise), asked)
    tolerance = entry.tolerance
    wanted = np.asarray(expected, dtype=float)
    if not np.isfinite(wanted).all():
        raise _checks.bad("expected", "not finite (NaN or infinity)", "finite")

    def grade(answer: object) -> None:
        try:
            verdict, said = (
                "right",
                _compare(_measured(answer, measure), wanted, tolerance),
            )
        except _Unanswered:
            verdict, said = "unanswered", ""
        except _Wrong as reason:
            verdict, said = "wrong", str(reason)
        _last[entry.id] = verdict
        _show(entry, verdict, said)
        if verdict == "wrong" and build.build_directory() is not None:
            raise SolutionFailed(f"the solution of {entry.id}: {said}")

    return grade


def assert_right(exercise: str) -> None:
    """For graders that go by what raises, as nbgrader does: an AssertionError unless
    the last answer to the exercise was right.
    """
    assert _last.get(exercise) == "right", f"{exercise} is not answered right"


def show_exercises() -> None:
    """Show every exercise as a table, the easy ones first, and the minutes in
    all. In a build of the book they are links.
    """
    linked = build.build_directory() is not None
    order = ("easy", "medium", "hard")
    entries = sorted(
        exercises().values(), key=lambda entry: order.index(entry.difficulty)
    )
    rows = [
        f"| {entry.difficulty} | {int(entry.chapter[:2])} | "
        f"{'{ref}' * linked}`{entry.id}` | "
        f"{entry.minutes} |"
        for entry in entries
    ]
    total = (
        f"| all | | {len(entries)} exercises | "
        f"{sum(entry.minutes for entry in entries)} |"
    )
    page = "\n".join(
        [
            "| Difficulty | Chapter | Exercise | Minutes |",
            "|---|---:|---|---:|",
            *rows,
            total,
        ]
    )
    display({"text/markdown": page, "text/plain": page}, raw=True)


def _measured(answer: object, measure: Callable[[Any], Any]) -> np.ndarray:
    """What is compared, as an array of numbers."""
    if answer is ...:
        raise _Unanswered
    try:
        value = measure(_asked(answer) if isfunction(answer) else answer)
    except (_Unanswered, _Wrong):
        raise
    # Whatever the check makes of it, the reader is told in one line.
    except (Exception, SystemExit) as error:
        raise _Wrong(f"The check cannot use it: {_in_a_line(error)}") from error
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        # NumPy knows no bfloat16.
        value = value.double() if value.is_floating_point() else value
    try:
        array = np.asarray(value)
    except (ValueError, RuntimeError) as error:
        raise _Wrong(
            f"It is {type(value).__name__} of uneven parts, and must be numbers"
        ) from error
    except Exception as error:
        raise _Wrong(f"It is {type(value).__name__}, and must be numbers") from error
    if array.dtype == object and any(part is ... for part in array.flat):
        raise _Unanswered
    if array.dtype.kind not in "biuf":
        raise _Wrong(
            f"It is {'None' if value is None else type(value).__name__}, and must be "
            "real numbers"
        )
    return array.astype(float)


def _asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The reader's function, which says so where it is still a stub or stops.

    It works on copies, so that it changes nothing that a later check or cell reads, and
    what it gives back is of float64 tensors, in whatever form it computes.
    """

    @wraps(function)
    def call(*arguments: object, **named: object) -> object:
        arguments, named = deepcopy((arguments, named))
        try:
            value = function(*arguments, **named)
        except (Exception, SystemExit) as error:
            place = ""
            for frame in traceback.extract_tb(error.__traceback__):
                if frame.filename == function.__code__.co_filename:
                    place = f", in line {frame.lineno}: `{frame.line}`"
            raise _Wrong(f"It stops with {_in_a_line(error)}{place}") from error
        if value is ... or (
            isinstance(value, (tuple, list)) and any(part is ... for part in value)
        ):
            raise _Unanswered
        if value is None:
            raise _Wrong(
                "The function gives back None: it has no return, or returns nothing"
            )
        return _as_tensors(value)

    return call


def _as_tensors(value: Any) -> Any:
    """Arrays, lists of numbers and tensors of any precision as float64 tensors; the
    parts of a tuple each; all else, plain numbers too, as it is.
    """
    if isinstance(value, tuple):
        return tuple(map(_as_tensors, value))
    if isinstance(value, list):
        try:
            value = np.array(value, dtype=float)
        except (TypeError, ValueError, RuntimeError):
            return [_as_tensors(part) for part in value]
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        value = torch.tensor(value)
    if isinstance(value, torch.Tensor) and not value.is_complex():
        return value.double()
    return value


def _in_a_line(error: BaseException) -> str:
    """The error's name and the first line of what it says."""
    (*_, last) = traceback.format_exception_only(error)
    return last.partition("\n")[0]


def _compare(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> str:
    """How near a right answer is; any other raises."""
    if found.shape != wanted.shape and not found.size == wanted.size == 1:
        raise _Wrong(f"Its shape is {found.shape}, and must be {wanted.shape}")
    if not np.isfinite(found).all():
        raise _Wrong("It is not finite (NaN or infinity)")
    distance = np.abs(found - wanted.reshape(found.shape)).max()
    if distance > tolerance:
        raise _Wrong(
            f"It is off by {readable(distance)}, and may be by {readable(tolerance)}"
        )
    return f"Off by {readable(distance)}, and may be by {readable(tolerance)}"


def _show(entry: Exercise, verdict: str, said: str) -> None:
    title, colour = LOOKS[verdict]
    sentences = " ".join(f"{part}." for part in (title, said) if part)
    page = f"```{{admonition}} {title}\n:class: tip\n{said}.\n```\n"
    style = f"border-left: 4px solid {colour}; padding-left: 0.8em"
    display(
        {
            MIME: {"id": entry.id, "verdict": verdict, "said": said},
            "text/markdown": page if said else f"*{sentences}*",
            "text/html": f'<div style="{style}">{html.escape(sentences)}</div>',
            "text/plain": f"{entry.id}: {sentences}",
        },
        raw=True,
    )
