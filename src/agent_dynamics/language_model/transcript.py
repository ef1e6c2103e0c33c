"""Every attempt of an experiment on disk, one JSON object a line, and the budget of
tokens.
"""

from __future__ import annotations

import json
import lzma
import os
import threading
from collections import Counter
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from .. import _checks

ATTEMPTS = 5  # a turn, the first one included
# How a line of a transcript begins: an attempt, or the settings of those after it.
BEGIN = (b'{"turn":', b'{"settings":')
# What a model said, and no weights.
UNUSABLE = ("refused", "cut-off", "malformed", "wrong-length", "not-finite")
Kind = Literal[
    "ok",
    "refused",
    "cut-off",
    "malformed",
    "wrong-length",
    "not-finite",
    "rate-limited",
    "server-error",
    "timeout",
    "connection",
    "unsupported",
    "rejected",
]
STAND_IN = "stand-in"  # the name under which the stand-in answers


class Attempt(BaseModel):
    """One attempt at a turn, a line of a transcript.

    Attributes:
        turn: the agent's name and its turn: PAIR/W/1, PAIR/U/1, PAIR/W/2, ...
        model: the name under which it was asked.
        answered_by: the name that the endpoint gave.
        asked: the chat messages.
        kind: "ok", what is wrong with the answer (UNUSABLE), or what failed.
        answer: the model's text, or what the error said.
        weights: of an answer that is "ok", and of no other.
        tokens_in, tokens_out: asked and answered.
        form: of the answer that was asked for, one of `endpoint.FORMS`.
        estimated: whether the endpoint did not say the tokens, and these are the most
            that it can have taken.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", frozen=True
    )

    turn: str = Field(pattern=r"^.+/[1-9][0-9]*$")
    model: str
    answered_by: str
    asked: list[dict[str, str]]
    kind: Kind
    answer: str | None
    weights: list[FiniteFloat] | None
    tokens_in: NonNegativeInt
    tokens_out: NonNegativeInt
    form: str = "schema"
    estimated: bool = False

    @model_validator(mode="after")
    def _only_good_answers_have_weights(self) -> Attempt:
        if (self.kind == "ok") != bool(self.weights):
            raise ValueError("weights belong to an answer that is ok, and to no other")
        return self


Kept = dict[str, JsonValue]  # with what settings attempts were made


class _SettingsLine(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    settings: Kept


_LINE: TypeAdapter[Attempt | _SettingsLine] = TypeAdapter(Attempt | _SettingsLine)


class NotWritten(OSError):
    """A transcript that this machine does not write: no space, no permission."""


class BudgetReached(RuntimeError):
    """The next request could exceed the budget of tokens."""


class Transcript:
    """Every attempt of an experiment, one JSON object a line, and the budget that they
    share.

    Reading changes nothing in the file. A last line that a kill cut short is passed
    over, and the next attempt takes its place. Safe to use from several threads. A file
    that ends in .xz is compressed, and is only read.

    Attributes:
        attempts: the attempts at each turn, by its name.
        settings: with which the attempts were made, the latest last.
        answered_by: the names that the endpoint gave with its answers.
        tokens_in, tokens_out: spent, asked and answered.

    Args:
        path: the file; the first attempt makes it where it does not exist.
        budget: the most tokens, those in the file included.

    Raises:
        ValueError: a line that is no attempt, a budget below 1.
    """

    def __init__(self, path: str | Path, budget: int = 3_000_000) -> None:
        self.path, self.budget = Path(path), _checks.count("budget", budget)
        self.attempts: dict[str, list[Attempt]] = {}
        self.settings: list[Kept] = []
        self.answered_by: set[str] = set()
        self.tokens_in = self.tokens_out = self._reserved = 0
        self._lock = threading.Lock()
        self._cut: int | None = None  # where a line begins that a kill cut short
        self._lead = ""  # what the next line needs before it
        self._size = 0  # of the file as it was read
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        text = self.path.read_bytes()
        self._size = len(text)
        if self.path.suffix == ".xz":
            text = lzma.decompress(text)
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            try:
                self._enter(_LINE.validate_json(line))
                self._lead = "" if line.endswith(b"\n") else "\n"
            except ValidationError as error:
                begun = any(b.startswith(line) or line.startswith(b) for b in BEGIN)
                if line.endswith(b"\n") or not begun or _whole(line):
                    raise _checks.bad(
                        "path",
                        f"{self.path}, whose line {number} is no attempt",
                        "a transcript",
                    ) from error
                self._cut = len(text) - len(line)

    def _enter(self, line: Attempt | _SettingsLine) -> None:
        if isinstance(line, _SettingsLine):
            self.settings.append(line.settings)
            return
        self.attempts.setdefault(line.turn, []).append(line)
        self.tokens_in += line.tokens_in
        self.tokens_out += line.tokens_out
        if line.answered_by and line.kind != "rejected":
            self.answered_by.add(line.answered_by)

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

    def append(self, attempt: Attempt, reserved: int) -> None:
        """Write an attempt to the disk, in place of what was reserved for it.

        Raises:
            RuntimeError: a file that another run has written to meanwhile.
            NotWritten: one that this machine does not write; it is left as it was.
        """
        with self._lock:
            self._reserved -= reserved
            self._write(attempt)

    def note(self, settings: Kept) -> None:
        """Write the settings of the attempts to come, where they have changed.

        Raises:
            RuntimeError, NotWritten: as `append`.
        """
        with self._lock:
            if self.settings[-1:] != [settings]:
                self._write(_SettingsLine(settings=settings))

    def _write(self, line: Attempt | _SettingsLine) -> None:
        if self.path.suffix == ".xz":
            raise _checks.bad("path", f"{self.path}, compressed", "one to write to")
        # What the reader would refuse does not reach the disk.
        text = json.dumps(line.model_dump())
        _LINE.validate_json(text)
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._size:
            # What it wrote is not this one's to mend.
            raise RuntimeError(f"another run writes to {self.path}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._cut is not None:
                os.truncate(self.path, self._cut)
                size = self._cut
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lead + text + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():  # a full disk takes half a line
                os.truncate(self.path, size)
            raise NotWritten(error.errno, error.strerror, str(self.path)) from error
        self._cut, self._lead, self._size = None, "", self.path.stat().st_size
        self._enter(line)

    def entries(self) -> list[Attempt]:
        """Every attempt, those of a turn in their order."""
        return list(chain.from_iterable(map(list, list(self.attempts.values()))))

    def kinds(self) -> Counter[str]:
        """How often each kind of answer occurs."""
        return Counter(entry.kind for entry in self.entries())

    def models(self) -> set[str]:
        """The names under which models were asked."""
        return {entry.model for entry in self.entries()}

    def ended(self) -> set[str]:
        """The names of the pairs that unusable answers ended."""
        return {
            turn.split("/")[0]
            for turn, entries in self.attempts.items()
            if sum(entry.kind in UNUSABLE for entry in entries) >= ATTEMPTS
        }

    @property
    def of_a_model(self) -> bool:
        """Whether a language model answered, and not the stand-in, under whatever name
        it was asked.
        """
        return bool(self.attempts) and STAND_IN not in self.answered_by


def _whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def transcripts() -> list[Path]:
    """The transcripts there are: those that come with the package, and those in the
    folder AGENT_DYNAMICS_TRANSCRIPTS.
    """
    shipped = Path(str(files(__package__).joinpath("transcripts")))
    own = os.environ.get("AGENT_DYNAMICS_TRANSCRIPTS")
    return [
        *sorted(shipped.glob("*.jsonl.xz")),
        *(sorted(Path(own).glob("*.jsonl")) if own else []),
    ]
