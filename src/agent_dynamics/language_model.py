"""Language models as agents, over any OpenAI-compatible endpoint (theory section 11).

An agent shows the model its own examples and the other's last estimate, and asks for an improved one. Every
attempt is appended to a transcript as it happens. What a transcript holds is never asked again, so a run that
stopped goes on from it, and a whole transcript replays without an endpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import openai
import torch
from torch import Tensor
from tqdm import tqdm

from . import _checks
from .prompts import Prompt, prompt_with_covariance, random_covariance, target_pair

ATTEMPTS = 5            # a turn, the first one included
LONGEST_WAIT = 60.0     # seconds between two attempts
ANSWER_TOKENS = 4_000   # the most that one answer may take, a model's reasoning included
DIMENSION, EXAMPLES = 3, 6
KINDS = (("aligned", 0.0), ("misaligned", math.pi / 4), ("misaligned", math.pi / 2),
         ("misaligned", 3 * math.pi / 4), ("misaligned", math.pi), ("one-sided", math.pi / 2))
INSTRUCTION = (
    'You estimate the weights of a linear model: y is the sum of the {d} entries of x, each times its weight. '
    'You are given examples of x and y, and the estimate of a partner who sees other examples. Improve the '
    'estimate a little, so that it fits your examples better. Answer with JSON and nothing else: '
    '{{"weights": [...]}}, with {d} numbers.'
)


class BudgetReached(RuntimeError):
    """The next request could exceed the budget of tokens."""


class NoAnswer(RuntimeError):
    """A turn without a usable answer: the attempts are used up, or a replay has no more of them."""


class Rejected(RuntimeError):
    """The endpoint does not accept the request at all, so that no later one can succeed."""


class Transcript:
    """Every attempt of an experiment, one JSON object a line, and the budget that they share.

    A last line that a kill cut short is dropped. Safe to use from several threads.

    Args:
        path: the file; it is made where it does not exist.
        budget: the most tokens, those in the file included.

    Raises:
        ValueError: a line other than the last that is no JSON object, a budget below 1.
    """

    def __init__(self, path: str | Path, budget: int = 3_000_000) -> None:
        self.path, self.budget = Path(path), _checks.count("budget", budget)
        self.attempts: dict[str, list[dict]] = {}
        self.tokens = self._reserved = 0
        self._lock = threading.Lock()
        if self.path.exists():
            text = self.path.read_bytes()
            whole = text[:text.rfind(b"\n") + 1]
            if whole != text:
                os.truncate(self.path, len(whole))
            for number, line in enumerate(whole.splitlines(), start=1):
                try:
                    self._enter(json.loads(line))
                except (ValueError, TypeError, KeyError) as error:
                    raise _checks.bad("path", f"{path}, whose line {number} is no attempt", "a transcript") from error

    def _enter(self, entry: dict) -> None:
        self.attempts.setdefault(entry["turn"], []).append(entry)
        self.tokens += entry["tokens"]

    def reserve(self, tokens: int) -> None:
        """Set tokens aside for a request; BudgetReached where they are not left."""
        with self._lock:
            if self.tokens + self._reserved + tokens > self.budget:
                raise BudgetReached(f"{self.tokens:,} of {self.budget:,} tokens are spent and the next request "
                                    f"could take {tokens + self._reserved:,}")
            self._reserved += tokens

    def append(self, entry: dict, reserved: int) -> None:
        """Write an attempt to the disk, in place of what was reserved for it."""
        with self._lock:
            self._reserved -= reserved
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._enter(entry)

    def kinds(self) -> Counter:
        """How often each kind of answer occurs."""
        return Counter(entry["kind"] for entries in self.attempts.values() for entry in entries)

    def models(self) -> set[str]:
        """The names under which the endpoint answered."""
        return {entry["answered_by"] for entries in self.attempts.values() for entry in entries
                if entry["answered_by"]}


def connect(timeout: float = 120.0) -> openai.OpenAI:
    """The official client for OPENAI_BASE_URL with OPENAI_API_KEY, without retries of its own.

    Raises:
        ValueError: no key in the environment.
    """
    if not os.environ.get("OPENAI_API_KEY"):
        raise _checks.bad("OPENAI_API_KEY", "not set", "the endpoint's key")
    return openai.OpenAI(max_retries=0, timeout=timeout)


def question(prompt: Prompt, estimate: Tensor) -> list[dict[str, str]]:
    """The chat messages of one turn: the instruction, then the examples and the estimate as JSON."""
    def written(values: Tensor) -> list[float]:
        return [float(f"{value:.6g}") for value in values.tolist()]

    examples = [{"x": written(x), "y": y} for x, y in zip(prompt.inputs, written(prompt.labels), strict=True)]
    return [{"role": "system", "content": INSTRUCTION.format(d=prompt.dimension)},
            {"role": "user", "content": json.dumps({"examples": examples, "estimate": written(estimate)})}]


def parse(text: str | None, d: int) -> tuple[str, list[float] | None]:
    """("ok", weights) of an answer, or what is wrong with it: "malformed", "wrong-length" or "not-finite".

    Accepted is {"weights": [d finite numbers]} and nothing else.
    """
    try:
        answer = json.loads(text or "")
    except ValueError:
        return "malformed", None
    weights = answer.get("weights") if isinstance(answer, dict) and len(answer) == 1 else None
    if not isinstance(weights, list) or any(type(value) not in (int, float) for value in weights):
        return "malformed", None
    if len(weights) != d:
        return "wrong-length", None
    try:
        weights = [float(value) for value in weights]
    except OverflowError:
        return "not-finite", None
    return ("ok", weights) if all(map(math.isfinite, weights)) else ("not-finite", None)


class LanguageModelAgent:
    """An agent whose turns a language model takes. Its turns are counted, and named NAME/1, NAME/2, ...

    An attempt that fails is recorded with its kind: rate-limited, server-error, timeout, connection, refused,
    cut-off, malformed, wrong-length or not-finite. Then it is made again, after a wait that doubles.

    Args:
        prompt: the agent's own examples, without batch dimensions.
        name: of this agent in the transcript.
        model: the endpoint's name of the model.
        transcript: where attempts are looked up and kept.
        client: None replays: what the transcript lacks is not asked.
        wait: seconds before the second attempt.

    Raises:
        ValueError: a batch of prompts.
    """

    def __init__(self, prompt: Prompt, name: str, model: str, transcript: Transcript,
                 client: openai.OpenAI | None = None, wait: float = 1.0) -> None:
        if prompt.gram.ndim != 2:
            raise _checks.bad("prompt", f"a batch of shape {tuple(prompt.gram.shape[:-2])}", "one prompt")
        self.prompt, self.name, self.model = prompt, name, model
        self.transcript, self.client, self.wait = transcript, client, wait
        self.turns = 0

    @property
    def target(self) -> Tensor:
        """The prompt's target, shape (d,)."""
        return self.prompt.target

    def __call__(self, message: Tensor) -> Tensor:
        """The model's estimate after seeing `message`, both of shape (d,).

        Raises:
            NoAnswer: the attempts of this turn are used up; in a replay, also where the transcript ends.
            BudgetReached, Rejected: nothing more can be asked.
            ValueError: a transcript that holds another question or model under this turn's name.
        """
        self.turns += 1
        turn, asked = f"{self.name}/{self.turns}", question(self.prompt, message)
        made = 0
        for entry in list(self.transcript.attempts.get(turn, [])):
            if (entry["asked"], entry["model"]) != (asked, self.model):
                raise _checks.bad("transcript", f"one with another question or model at {turn}",
                                  "of this very experiment")
            if entry["kind"] == "ok":
                return self._message(entry)
            made += entry["kind"] != "rejected"
        while made < ATTEMPTS:
            if self.client is None:
                raise NoAnswer(f"{turn}: the transcript ends here")
            if made:
                time.sleep(min(self.wait * 2 ** (made - 1), LONGEST_WAIT))
            entry = self._ask(turn, asked)
            if entry["kind"] == "ok":
                return self._message(entry)
            if entry["kind"] == "rejected":
                raise Rejected(f"{turn}: {entry['answer']}")
            made += 1
        kinds = [entry["kind"] for entry in self.transcript.attempts[turn]]
        raise NoAnswer(f"{turn}: {', '.join(kinds)}")

    def _message(self, entry: dict) -> Tensor:
        return torch.tensor(entry["weights"], dtype=self.target.dtype, device=self.target.device)

    def _ask(self, turn: str, asked: list[dict[str, str]]) -> dict:
        # A token is at least one byte; 100 more for what the endpoint puts around the messages.
        most = sum(len(part["content"].encode()) for part in asked) + 100 + ANSWER_TOKENS
        self.transcript.reserve(most)
        weights, answered_by, tokens = None, "", [0, 0]
        try:
            reply = self.client.chat.completions.create(
                model=self.model, messages=asked, max_completion_tokens=ANSWER_TOKENS,
                response_format=_answer_format(self.prompt.dimension))
            choice, answered_by = reply.choices[0], reply.model
            text, kind = choice.message.content, "cut-off"
            tokens = [reply.usage.prompt_tokens, reply.usage.completion_tokens] if reply.usage else [most, 0]
            if choice.message.refusal:
                text, kind = choice.message.refusal, "refused"
            elif choice.finish_reason != "length":
                kind, weights = parse(text, self.prompt.dimension)
        except openai.RateLimitError as error:
            kind, text = "rate-limited", str(error)
        except openai.InternalServerError as error:
            kind, text = "server-error", str(error)
        except openai.APIStatusError as error:
            kind, text = "rejected", str(error)
        except openai.APITimeoutError as error:
            kind, text, tokens = "timeout", str(error), [most, 0]
        except openai.APIConnectionError as error:
            kind, text, tokens = "connection", f"{error} {error.__cause__ or ''}", [most, 0]
        except (openai.OpenAIError, ValueError, TypeError, IndexError, AttributeError) as error:
            # The body is no chat completion.
            kind, text, tokens = "malformed", f"{type(error).__name__}: {error}", [most, 0]
        text = (text or "").replace(self.client.api_key, "[key]")
        entry = {"turn": turn, "model": self.model, "answered_by": answered_by, "asked": asked, "kind": kind,
                 "answer": text, "weights": weights, "tokens": sum(tokens), "tokens_in": tokens[0],
                 "tokens_out": tokens[1]}
        self.transcript.append(entry, most)
        return entry


def _answer_format(d: int) -> dict:
    weights = {"type": "array", "items": {"type": "number"}, "minItems": d, "maxItems": d}
    return {"type": "json_schema", "json_schema": {"name": "estimate", "strict": True, "schema": {
        "type": "object", "properties": {"weights": weights}, "required": ["weights"],
        "additionalProperties": False}}}


@dataclass(frozen=True, eq=False)
class Pair:
    """A pair of prompts of the experiment; U's is blind to the gap where the kind is one-sided."""

    name: str
    kind: str
    angle: float
    prompt_w: Prompt
    prompt_u: Prompt


def experiment(pairs: int, seed: int) -> list[Pair]:
    """The pairs of the experiment: the kinds and angles of KINDS in turn, each pair from a seed of its own.

    Prompts have eigenvalues from 2/3 to 2 in three dimensions, so that a step of 0.4 has eta lambda <= 0.8.
    """
    made = []
    for index in range(_checks.count("pairs", pairs)):
        g = torch.Generator().manual_seed(1_000 * seed + index)
        kind, angle = KINDS[index % len(KINDS)]
        targets = target_pair(DIMENSION, angle, generator=g)
        covariances = random_covariance(DIMENSION, 3.0, largest=2.0, generator=g, shape=(2,))
        if kind == "one-sided":
            along = torch.nn.functional.normalize(targets[1] - targets[0], dim=0)
            away = torch.eye(DIMENSION, dtype=along.dtype) - torch.outer(along, along)
            blind = away @ covariances[1] @ away
            covariances[1] = (blind + blind.T) / 2
        prompts = [prompt_with_covariance(s, t, EXAMPLES, generator=g)
                   for s, t in zip(covariances, targets, strict=True)]
        made.append(Pair(f"{seed}-{index:03d}", kind, angle, *prompts))
    return made


def run(pairs: Sequence[Pair], turns: int, model: str, transcript: Transcript, client: openai.OpenAI | None = None,
        workers: int = 1, wait: float = 1.0, progress: Callable[[], object] = lambda: None) -> dict[str, Tensor]:
    """Let the two agents of every pair alternate from zero, several pairs at once.

    A pair ends early at a turn without an answer; the transcript says why.

    Args:
        pairs: of the experiment.
        turns: rounds, one reply of each agent.
        model, transcript, client, wait: as of LanguageModelAgent.
        workers: the most requests at one time.
        progress: called after every reply.

    Returns:
        The messages of each pair by its name, the start first, shape (2 * turns + 1, d) or shorter.

    Raises:
        BudgetReached, Rejected, ValueError: as LanguageModelAgent; what was answered is in the transcript.
    """
    stopped = threading.Event()

    def exchange(pair: Pair) -> Tensor:
        agents = [LanguageModelAgent(prompt, f"{pair.name}/{letter}", model, transcript, client, wait)
                  for letter, prompt in (("W", pair.prompt_w), ("U", pair.prompt_u))]
        messages = [torch.zeros_like(pair.prompt_w.target)]
        try:
            for index in range(2 * _checks.count("turns", turns)):
                if stopped.is_set():
                    break
                messages.append(agents[index % 2](messages[-1]))
                progress()
        except NoAnswer:
            pass  # recorded, and the pair ends here
        except BaseException:
            stopped.set()  # the other pairs end too, after the request that is under way
            raise
        return torch.stack(messages)

    with ThreadPoolExecutor(_checks.count("workers", workers)) as pool:
        results = pool.map(exchange, pairs)
        try:
            return {pair.name: messages for pair, messages in zip(pairs, results, strict=True)}
        except BaseException:
            stopped.set()
            raise


def effective_step(prompt: Prompt, received: Tensor, sent: Tensor) -> tuple[float, float]:
    """The step size that explains an agent's replies best, and the share of their movement that it explains.

    The least-squares eta in sent - received = -eta S (received - t), and R^2 = 1 - ||rest||^2 / ||moved||^2.

    Args:
        prompt: the agent's.
        received, sent: messages and the replies to them, shape (m, d).

    Raises:
        ValueError: replies that never move, or messages without a gradient.
    """
    moved, downhill = sent - received, -prompt.gradient(received)
    if not (moved.square().sum() > 0 and downhill.square().sum() > 0):
        raise _checks.bad("sent", "without movement or gradient", "replies that move the message")
    eta = (moved * downhill).sum() / downhill.square().sum()
    return eta.item(), (1 - (moved - eta * downhill).square().sum() / moved.square().sum()).item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment on an endpoint, or go on with it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--transcript", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--budget", type=int, default=3_000_000, help="tokens, those in the transcript included")
    parser.add_argument("--workers", type=int, default=4, help="the most requests at one time")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds before the second attempt")
    parser.add_argument("--prices", type=float, nargs=2, default=(0.0, 0.0), metavar=("IN", "OUT"),
                        help="of a million tokens, to show the cost")
    given = parser.parse_args(arguments)
    pairs, transcript = experiment(given.pairs, given.seed), Transcript(given.transcript, given.budget)
    asked = question(pairs[0].prompt_w, pairs[0].prompt_w.target)
    requests, size = 2 * given.pairs * given.turns, sum(len(part["content"]) for part in asked) // 2
    price_in, price_out = given.prices
    print(f"{given.pairs} pairs x {given.turns} turns: {requests:,} requests of about {size} tokens each and "
          f"their answers (about {requests * size / 1e6 * price_in:.2f} for the requests); budget "
          f"{given.budget:,} tokens, of which {transcript.tokens:,} are spent", flush=True)
    with tqdm(total=requests, unit="reply") as bar, connect() as client:
        def progress() -> None:
            bar.set_postfix_str(f"{transcript.tokens:,} tokens{_cost(transcript, price_in, price_out)}", refresh=False)
            bar.update()

        try:
            run(pairs, given.turns, given.model, transcript, client, given.workers, given.wait, progress)
        except (BudgetReached, Rejected) as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from None
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(transcript.kinds().items()))
    print(f"{transcript.path}: {kinds}; {transcript.tokens:,} tokens{_cost(transcript, price_in, price_out)}")


def _cost(transcript: Transcript, price_in: float, price_out: float) -> str:
    if not (price_in or price_out):
        return ""
    entries = [entry for entries in list(transcript.attempts.values()) for entry in list(entries)]
    return f", cost {sum(e['tokens_in'] * price_in + e['tokens_out'] * price_out for e in entries) / 1e6:.4f}"


if __name__ == "__main__":
    main()
