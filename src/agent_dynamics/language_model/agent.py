"""An agent whose turns a language model takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2
import openai
import torch
from jaxtyping import Float
from torch import Tensor

from .. import _checks
from ..prompts import Prompt
from .endpoint import asked_to_wait, kind_of
from .question import answer_format, parse, question
from .transcript import ATTEMPTS, STAND_IN, UNUSABLE, Attempt, Transcript

LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the endpoint asks for
# The most that one answer may take, a model's reasoning included.
ANSWER_TOKENS = 4_000


class NoAnswer(RuntimeError):
    """A turn without a usable answer: the attempts are used up, or a replay has no more
    of them.
    """


class Rejected(RuntimeError):
    """The endpoint does not accept the request at all, so that no later one can
    succeed.
    """


class LanguageModelAgent:
    """An agent whose turns a language model takes. Its turns are counted, and named
    NAME/1, NAME/2, ...

    An attempt that fails is recorded with its kind and made again, after a wait that
    doubles or that the endpoint asked for. Answers without usable weights (UNUSABLE)
    count against the attempts of the turn for ever; what the endpoint failed to do
    (rate-limited, server-error, timeout, connection) is forgiven when a run is resumed.

    Args:
        prompt: the agent's own examples, without batch dimensions.
        name: of this agent in the transcript.
        model: the endpoint's name of the model.
        transcript: where attempts are looked up and kept.
        client: None replays: what the transcript lacks is not asked.
        wait: seconds before the second attempt.
        sleep: how to wait.

    Raises:
        ValueError: a batch of prompts.
    """

    def __init__(
        self,
        prompt: Prompt,
        name: str,
        model: str,
        transcript: Transcript,
        client: openai.OpenAI | None = None,
        wait: float = 1.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if prompt.gram.ndim != 2:
            raise _checks.bad(
                "prompt",
                f"a batch of shape {tuple(prompt.batch)}",
                "one prompt",
            )
        self.prompt, self.name, self.model = prompt, name, model
        self.transcript, self.client, self.wait, self.sleep = (
            transcript,
            client,
            wait,
            sleep,
        )
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
            ValueError: a transcript that holds another question or model under this
                turn's name.
        """
        self.turns += 1
        turn, asked = f"{self.name}/{self.turns}", question(self.prompt, message)
        made = 0
        for entry in list(self.transcript.attempts.get(turn, [])):
            if (entry["asked"], entry["model"]) != (asked, self.model):
                raise _checks.bad(
                    "transcript",
                    f"one with another question or model at {turn}",
                    "of this very experiment",
                )
            if entry["kind"] == "ok":
                return self._message(entry)
            made += entry["kind"] in UNUSABLE
        kinds = []
        while made < ATTEMPTS:
            if self.client is None:
                raise NoAnswer(f"{turn}: the transcript ends here")
            entry, pause = self._ask(self.client, turn, asked)
            if entry["kind"] == "ok":
                return self._message(entry)
            if entry["kind"] == "rejected":
                raise Rejected(f"{turn}: {entry['answer']}")
            kinds.append(entry["kind"])
            made += 1
            if made < ATTEMPTS:
                self.sleep(
                    min(max(self.wait * 2 ** (len(kinds) - 1), pause), LONGEST_WAIT)
                )
        raise NoAnswer(f"{turn}: {', '.join(kinds) or 'its attempts are used up'}")

    def _message(self, entry: Attempt) -> Float[Tensor, " d"]:
        return torch.tensor(
            entry["weights"], dtype=self.target.dtype, device=self.target.device
        )

    def _ask(
        self, client: openai.OpenAI, turn: str, asked: list[dict[str, str]]
    ) -> tuple[Attempt, float]:
        """Make one attempt: its entry, and the seconds the endpoint asks to wait."""
        # A token is at least one byte; 100 more for what the endpoint puts around the
        # messages.
        most = [
            sum(len(part["content"].encode()) for part in asked) + 100,
            ANSWER_TOKENS,
        ]
        self.transcript.reserve(sum(most))
        weights, answered_by, tokens, wait = None, "", most, 0.0
        try:
            # The client's own types of messages are dictionaries as these are.
            reply = client.chat.completions.create(  # type: ignore[call-overload]
                model=self.model,
                messages=asked,
                max_completion_tokens=ANSWER_TOKENS,
                response_format=answer_format(self.prompt.dimension),
            )
            choice, answered_by = reply.choices[0], reply.model or ""
            text, kind = choice.message.content, "cut-off"
            if reply.usage:
                tokens = [reply.usage.prompt_tokens, reply.usage.completion_tokens]
            if choice.message.refusal or choice.finish_reason == "content_filter":
                text, kind = choice.message.refusal or text, "refused"
            elif choice.finish_reason != "length":
                kind, weights = parse(text, self.prompt.dimension)
            if self._mixes(answered_by):
                kind, weights = "rejected", None
                text = (
                    f"{answered_by} answers, and the transcript has answers of "
                    f"{self.transcript.answered_by}"
                )
        except openai.APIStatusError as error:
            kind, text = kind_of(error), str(error)
            tokens, wait = [0, 0], asked_to_wait(error)
        except openai.APITimeoutError as error:
            kind, text = "timeout", str(error)
        except openai.APIConnectionError as error:
            kind, text = "connection", f"{error} {error.__cause__ or ''}"
            if isinstance(error.__cause__, httpx2.ConnectError):  # nobody was asked
                tokens = [0, 0]
        except (
            openai.OpenAIError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
        ) as error:
            kind = "server-error"
            text = f"no chat completion: {type(error).__name__}: {error}"
        text, answered_by = (
            (part or "").replace(client.api_key, "[key]")
            for part in (text, answered_by)
        )
        entry = {
            "turn": turn,
            "model": self.model,
            "answered_by": answered_by,
            "asked": asked,
            "kind": kind,
            "answer": text,
            "weights": weights,
            "tokens_in": tokens[0],
            "tokens_out": tokens[1],
        }
        self.transcript.append(entry, sum(most))
        return entry, wait

    def _mixes(self, answered_by: str) -> bool:
        """Whether one transcript would hold a model's answers and the stand-in's."""
        before = self.transcript.answered_by
        return bool(before) and (STAND_IN in before) != (answered_by == STAND_IN)
