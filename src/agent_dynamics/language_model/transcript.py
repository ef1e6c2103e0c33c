"""Every attempt of an experiment on disk, one JSON object a line, and the budget of
tokens.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

from .. import _checks

ATTEMPTS = 5  # a turn, the first one included
BEGIN = b'{"turn": "'  # of every line of a transcript
# What a model said, and no weights.
UNUSABLE = ("refused", "cut-off", "malformed", "wrong-length", "not-finite")
STAND_IN = "stand-in"  # the name under which the stand-in answers

Attempt = dict[str, Any]  # one line of a transcript


class BudgetReached(RuntimeError):
    """The next request could exceed the budget of tokens."""


class Transcript:
    """Every attempt of an experiment, one JSON object a line, and the budget that they
    share.

    Reading changes nothing in the file. A last line that a kill cut short is passed
    over, and the next attempt takes its place. Safe to use from several threads.

    Args:
        path: the file; the first attempt makes it where it does not exist.
        budget: the most tokens, those in the file included.

    Raises:
        ValueError: a line that is no attempt, a budget below 1.
    """

    def __init__(self, path: str | Path, budget: int = 3_000_000) -> None:
        self.path, self.budget = Path(path), _checks.count("budget", budget)
        self.attempts: dict[str, list[Attempt]] = {}
        # The names that the endpoint gave with its answers.
        self.answered_by: set[str] = set()
        self.tokens_in = self.tokens_out = self._reserved = 0
        self._lock = threading.Lock()
        self._cut: int | None = None  # where a line begins that a kill cut short
        self._lead = ""  # what the next line needs before it
        self._size = 0  # of the file as it was read
        if self.path.exists():
            text = self.path.read_bytes()
            self._size = len(text)
            for number, line in enumerate(text.splitlines(keepends=True), start=1):
                try:
                    self._enter(json.loads(line))
                    self._lead = "" if line.endswith(b"\n") else "\n"
                except (ValueError, TypeError, KeyError) as error:
                    begun = isinstance(error, json.JSONDecodeError) and (
                        BEGIN.startswith(line) or line.startswith(BEGIN)
                    )
                    if line.endswith(b"\n") or not begun:
                        raise _checks.bad(
                            "path",
                            f"{path}, whose line {number} is no attempt",
                            "a transcript",
                        ) from error
                    self._cut = len(text) - len(line)

    def _enter(self, entry: Attempt) -> None:
        self.attempts.setdefault(entry["turn"], []).append(entry)
        self.tokens_in += entry["tokens_in"]
        self.tokens_out += entry["tokens_out"]
        if entry["answered_by"] and entry["kind"] != "rejected":
            self.answered_by.add(entry["answered_by"])

    @property
    def tokens(self) -> int:
        """What was spent, asked and answered."""
        return self.tokens_in + self.tokens_out

    def reserve(self, tokens: int) -> None:
        """Set tokens aside for a request; BudgetReached where they are not left."""
        with self._lock:
            if self.tokens + self._reserved + tokens > self.budget:
                raise BudgetReached(
                    f"{self.tokens:,} of {self.budget:,} tokens are spent and the "
                    "next request "
                    f"could take {tokens + self._reserved:,}"
                )
            self._reserved += tokens

    def append(self, entry: Attempt, reserved: int) -> None:
        """Write an attempt to the disk, in place of what was reserved for it.

        Raises:
            RuntimeError: an unended last line that another run has written after.
        """
        with self._lock:
            self._reserved -= reserved
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if (
                self._cut is not None or self._lead
            ) and self.path.stat().st_size != self._size:
                # What it wrote is not this one's to mend.
                raise RuntimeError(f"another run writes to {self.path}")
            if self._cut is not None:
                os.truncate(self.path, self._cut)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lead + json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._cut, self._lead = None, ""
            self._enter(entry)

    def entries(self) -> list[Attempt]:
        """Every attempt, those of a turn in their order."""
        return list(chain.from_iterable(map(list, list(self.attempts.values()))))

    def kinds(self) -> Counter[str]:
        """How often each kind of answer occurs."""
        return Counter(entry["kind"] for entry in self.entries())

    def models(self) -> set[str]:
        """The names under which models were asked."""
        return {entry["model"] for entry in self.entries()}

    def ended(self) -> set[str]:
        """The names of the pairs that unusable answers ended."""
        return {
            turn.split("/")[0]
            for turn, entries in self.attempts.items()
            if sum(entry["kind"] in UNUSABLE for entry in entries) >= ATTEMPTS
        }

    @property
    def of_a_model(self) -> bool:
        """Whether a language model answered, and not the stand-in, under whatever name
        it was asked.
        """
        return bool(self.attempts) and STAND_IN not in self.answered_by


def given_transcript() -> Transcript | None:
    """The transcript at AGENT_DYNAMICS_TRANSCRIPT; None where there is none with an
    answer in it.
    """
    path = Path(os.environ.get("AGENT_DYNAMICS_TRANSCRIPT") or os.devnull)
    transcript = Transcript(path) if path.is_file() else None
    return transcript if transcript and transcript.kinds()["ok"] else None
