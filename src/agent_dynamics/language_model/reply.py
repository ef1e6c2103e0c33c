"""What comes back from an endpoint, besides the answer itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        kind: as of `transcript.Attempt`.
        text: the answer, or what the error said.
        weights: of a good answer.
        answered_by: the name that the endpoint gave.
        tokens: asked and answered; None where the endpoint did not say.
        wait: seconds that it asks to wait before the next request.
        form: of the answer that was asked for.
    """

    kind: str
    text: str | None
    form: str
    weights: list[float] | None = None
    answered_by: str = ""
    tokens: tuple[int, int] | None = (0, 0)
    wait: float = 0.0


def usage(answer: Any) -> tuple[int, int] | None:
    """The tokens asked and answered, by either of their two names; None where the
    endpoint does not say.
    """
    usage = getattr(answer, "usage", None)
    told = []
    for names in (("prompt", "input"), ("completion", "output")):
        values = [getattr(usage, f"{name}_tokens", None) for name in names]
        counts = [v for v in values if type(v) is int and v >= 0]
        told.append(counts[0] if counts else None)
    asked, answered = told
    return None if asked is None or answered is None else (asked, answered)


def asked_to_wait(error: openai.APIStatusError) -> float:
    """Seconds of a Retry-After header, which is a number or a date; 0 without one."""
    header = error.response.headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, TypeError):
        return max(
            0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        )
    return 0.0
