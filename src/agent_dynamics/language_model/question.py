"""What a language model is asked in one turn, and how its answer is read."""

from __future__ import annotations

import json
import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..prompts import Prompt

INSTRUCTION = (
    "You estimate the weights of a linear model: y is the sum of the {d} entries of "
    "x, each times its weight. "
    "You are given examples of x and y, and the estimate of a partner who sees other "
    "examples. Improve the "
    "estimate a little, so that it fits your examples better. Answer with JSON and "
    "nothing else: "
    '{{"weights": [...]}}, with {d} numbers.'
)


def question(prompt: Prompt, estimate: Float[Tensor, " d"]) -> list[dict[str, str]]:
    """The chat messages of one turn: the instruction, then the examples and the
    estimate as JSON.
    """

    def written(values: Float[Tensor, " _"]) -> list[float]:
        return [float(f"{value:.6g}") for value in values.tolist()]

    examples = [
        {"x": written(x), "y": y}
        for x, y in zip(prompt.inputs, written(prompt.labels), strict=True)
    ]
    return [
        {"role": "system", "content": INSTRUCTION.format(d=prompt.dimension)},
        {
            "role": "user",
            "content": json.dumps(
                {"examples": examples, "estimate": written(estimate)}
            ),
        },
    ]


def answer_format(d: int) -> dict[str, Any]:
    """The structured output that holds an answer to `d` numbers."""
    weights = {
        "type": "array",
        "items": {"type": "number"},
        "minItems": d,
        "maxItems": d,
    }
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


def parse(text: str | None, d: int) -> tuple[str, list[float] | None]:
    """("ok", weights) of an answer, or what is wrong with it: "malformed",
    "wrong-length" or "not-finite".

    Accepted is {"weights": [d finite numbers]} and nothing else.
    """
    try:
        answer = json.loads(text or "")
    except ValueError:
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
    return ("ok", weights) if all(map(math.isfinite, weights)) else ("not-finite", None)
