"""What a language model is asked in one turn, and how its answer is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..agents import GradientAgent
from ..prompts import Prompt

FORMS = ("schema", "plain-schema", "object", "text")  # of an answer
LARGEST = 1e100  # of a weight
STEP = 0.4  # of the gradient step that a model is told or shown
INSTRUCTION = (
    "You estimate the weights of a linear model: y is the sum of the {d} entries of "
    "x, each times its weight. "
    "You are given examples of x and y, and the estimate of a partner who sees other "
    "examples. {explained}Improve the "
    "estimate a little, so that it fits your examples better. Answer with JSON and "
    "nothing else: "
    '{{"weights": [...]}}, with {d} numbers.'
)
RESIDUALS = (
    "The error of an example is the sum of the entries of x, each times its estimate, "
    "minus y. "
)
EXPLAINED = (
    "Take one step of gradient descent. For each example, compute its error: the sum "
    "of the entries of x, each times its estimate, minus y. For each weight, "
    "average the error times that weight's entry of x over the examples. Subtract "
    "{step} times this average from the weight. "
)


@dataclass(frozen=True)
class Variant:
    """What a model is shown beside its examples and its partner's estimate.

    Attributes:
        name: of the variant.
        explained: whether the gradient step is explained in words.
        worked: how many gradient steps on other prompts it is shown, worked out.
        residuals: whether the residual of each example is given.
        digits: significant digits of the numbers.
    """

    name: str
    explained: bool = False
    worked: int = 0
    residuals: bool = False
    digits: int = 6


PLAIN = Variant("plain")
VARIANTS = {
    variant.name: variant
    for variant in (
        PLAIN,
        Variant("explained", explained=True),
        Variant("worked-1", worked=1),
        Variant("worked-2", worked=2),
        Variant("worked-4", worked=4),
        Variant("residuals", residuals=True),
        Variant("short", digits=2),
    )
}

Shown = tuple[Prompt, Float[Tensor, " d"]]  # a prompt, and the estimate to improve


def question(
    prompt: Prompt,
    estimate: Float[Tensor, " d"],
    variant: Variant = PLAIN,
    worked: Sequence[Shown] = (),
) -> list[dict[str, str]]:
    """The chat messages of one turn.

    The instruction; of `worked` what the variant shows, each as a question and the
    answer of a gradient step (:eq:`eq-turn`); the examples and the estimate, as JSON.
    """

    def asked(prompt: Prompt, estimate: Tensor) -> str:
        labels = _written(prompt.labels.tolist(), variant.digits)
        examples: list[dict[str, Any]] = [
            {"x": _written(x, variant.digits), "y": y}
            for x, y in zip(prompt.inputs.tolist(), labels, strict=True)
        ]
        if variant.residuals:
            residuals = (prompt.inputs @ estimate - prompt.labels).tolist()
            for example, error in zip(examples, residuals, strict=True):
                example["error"] = _written([error], variant.digits)[0]
        written = _written(estimate.tolist(), variant.digits)
        return json.dumps({"examples": examples, "estimate": written})

    told = EXPLAINED.format(step=STEP) if variant.explained else ""
    told += RESIDUALS if variant.residuals else ""
    system = INSTRUCTION.format(d=prompt.dimension, explained=told)
    messages = [{"role": "system", "content": system}]
    for other, start in worked[: variant.worked]:
        improved = GradientAgent(other, STEP)(start)
        weights = _written(improved.tolist(), variant.digits)
        messages += [
            {"role": "user", "content": asked(other, start)},
            {"role": "assistant", "content": json.dumps({"weights": weights})},
        ]
    return [*messages, {"role": "user", "content": asked(prompt, estimate)}]


def answer_format(d: int, form: str) -> dict[str, Any]:
    """The structured output that holds an answer to `d` numbers, in one of FORMS but
    "text", which has none.
    """
    if form == "object":
        return {"type": "json_object"}
    weights: dict[str, Any] = {"type": "array", "items": {"type": "number"}}
    if form == "schema":
        weights |= {"minItems": d, "maxItems": d}
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "estimate",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"weights": weights},
                "required": ["weights"],
                "additionalProperties": False,
            },
        },
    }


def _written(values: Iterable[float], digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]


def parse(text: str | None, d: int) -> tuple[str, list[float] | None]:
    """("ok", weights) of an answer, or what is wrong with it: "malformed",
    "wrong-length" or "not-finite".

    Accepted is {"weights": [d numbers]} and nothing else. Finite are numbers up to
    LARGEST, so that sums of their squares are.
    """
    try:
        answer = json.loads(text or "")
    except (ValueError, RecursionError):
        return "malformed", None
    weights = (
        answer.get("weights") if isinstance(answer, dict) and len(answer) == 1 else None
    )
    if not isinstance(weights, list) or any(
        type(value) not in (int, float) for value in weights
    ):
        return "malformed", None
    if len(weights) != d:
        return "wrong-length", None
    try:
        weights = [float(value) for value in weights]
    except OverflowError:
        return "not-finite", None
    finite = all(abs(value) <= LARGEST for value in weights)
    return ("ok", weights) if finite else ("not-finite", None)


def inner_json(text: str) -> str:
    """The last JSON object of a text that has others things around it: thoughts, prose,
    a code fence; the text itself where there is none.
    """
    decoder = json.JSONDecoder()
    found, start = text, text.find("{")
    while start >= 0:
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found = text[start:end]
        start = text.find("{", end)
    return found
