"""An agent whose turns a language model takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .. import _checks
from ..prompts import Prompt
from .endpoint import Endpoint, Rejected
from .question import PLAIN, Shown, Variant, question
from .transcript import ATTEMPTS, STAND_IN, UNUSABLE, Attempt, Transcript

LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the endpoint asks for


class NoAnswer(RuntimeError):
    """A turn without a usable answer: the attempts are used up, or a replay has no more
    of them.
    """


class LanguageModelAgent:
    """An agent whose turns a language model takes. Its turns are counted, and named
    NAME/1, NAME/2, ...

    An attempt that fails is recorded with its kind and made again, after a wait that
    doubles or that the endpoint asked for. Answers without usable weights (UNUSABLE)
    count against the attempts of the turn for ever; what the endpoint failed to do
    (rate-limited, server-error, timeout, connection) is forgiven when a run is resumed,
    and what it does not support costs no attempt.

    Args:
        prompt: the agent's own examples, without batch dimensions.
        name: of this agent in the transcript.
        transcript: where attempts are looked up and kept.
        endpoint: None replays: what the transcript lacks is not asked.
        variant: what the model is shown.
        worked: the steps on other prompts that a variant shows.
        wait: seconds before the second attempt.
        sleep: how to wait.

    Raises:
        ValueError: a batch of prompts.
    """

    def __init__(
        self,
        prompt: Prompt,
        name: str,
        transcript: Transcript,
        endpoint: Endpoint | None = None,
        variant: Variant = PLAIN,
        worked: Sequence[Shown] = (),
        wait: float = 1.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if prompt.gram.ndim != 2:
            raise _checks.bad(
                "prompt",
                f"a batch of shape {tuple(prompt.batch)}",
                "one prompt",
            )
        self.prompt, self.name = prompt, name
        self.transcript, self.endpoint = transcript, endpoint
        self.variant, self.worked = variant, worked
        self.wait, self.sleep = wait, sleep
        self.turns = 0

    @property
    def target(self) -> Float[Tensor, " d"]:
        """The prompt's target, shape (d,)."""
        return self.prompt.target

    def __call__(self, message: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """The model's estimate after seeing `message`, both of shape (d,).

        Raises:
            NoAnswer: the attempts of this turn are used up; in a replay, also where the
                transcript ends.
            BudgetReached, Rejected: nothing more can be asked.
            NotWritten: the transcript cannot be written.
            ValueError: a transcript that holds another question or model under this
                turn's name.
        """
        self.turns += 1
        turn = f"{self.name}/{self.turns}"
        asked = question(self.prompt, message, self.variant, self.worked)
        made = 0
        for entry in list(self.transcript.attempts.get(turn, [])):
            model = self.endpoint.model if self.endpoint else entry.model
            if (entry.asked, entry.model) != (asked, model):
                raise _checks.bad(
                    "transcript",
                    f"one with another question or model at {turn}",
                    "of this very experiment",
                )
            if entry.weights is not None:
                return self._message(entry.weights)
            made += entry.kind in UNUSABLE
        kinds: list[str] = []
        while made < ATTEMPTS:
            if self.endpoint is None:
                raise NoAnswer(f"{turn}: the transcript ends here")
            entry, pause = self._ask(self.endpoint, turn, asked)
            if entry.weights is not None:
                return self._message(entry.weights)
            if entry.kind == "rejected":
                raise Rejected(f"{turn}: {entry.answer}")
            if entry.kind == "unsupported":
                continue
            kinds.append(entry.kind)
            made += 1
            if made < ATTEMPTS:
                self.sleep(
                    min(max(self.wait * 2 ** (len(kinds) - 1), pause), LONGEST_WAIT)
                )
        raise NoAnswer(f"{turn}: {', '.join(kinds) or 'its attempts are used up'}")

    def _message(self, weights: list[float]) -> Float[Tensor, " d"]:
        return torch.tensor(weights, dtype=self.target.dtype, device=self.target.device)

    def _ask(
        self, endpoint: Endpoint, turn: str, asked: list[dict[str, str]]
    ) -> tuple[Attempt, float]:
        """Make one attempt: its entry, and the seconds the endpoint asks to wait."""
        # A token is at least one byte; 100 more for what the endpoint puts around the
        # messages.
        cap = endpoint.settings.cap
        most = (sum(len(part["content"].encode()) for part in asked) + 100, cap)
        self.transcript.reserve(sum(most))
        reply = endpoint.ask(asked, self.prompt.dimension)
        kind, text, weights = reply.kind, reply.text, reply.weights
        before, name = self.transcript.answered_by, reply.answered_by
        if name and before and (STAND_IN in before) != (name == STAND_IN):
            kind, weights = "rejected", None
            text = f"{name} answers, and the transcript has answers of {before}"
        tokens_in, tokens_out = most if reply.tokens is None else reply.tokens
        entry = Attempt.model_validate(
            {
                "turn": turn,
                "model": endpoint.model,
                "answered_by": name,
                "asked": asked,
                "kind": kind,
                "answer": text,
                "weights": weights,
                "tokens_in": tokens_in,
                "tokens_out": tokens_out,
                "form": reply.form,
                "estimated": reply.tokens is None,
            }
        )
        self.transcript.append(entry, sum(most))
        if tokens_out > cap:
            raise Rejected(
                f"{turn}: an answer took {tokens_out:,} tokens, and was to take at "
                f"most {cap:,}. An endpoint that ignores the cap can break any budget. "
                "The same command asks it by the older name of the cap, max_tokens"
            )
        return entry, reply.wait
