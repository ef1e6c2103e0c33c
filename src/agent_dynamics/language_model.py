"""Language models as agents, over any OpenAI-compatible endpoint (theory section 11).

An agent shows the model its own examples and the other's last estimate, and asks for an improved one. Every
attempt is appended to a transcript as it happens. What a transcript holds is never asked again, so a run that
stopped goes on from it, and a whole transcript replays without an endpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import operator
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import openai
import torch
from torch import Tensor
from tqdm import tqdm

from . import _checks
from .agents import GradientAgent
from .equilibrium import equilibrium
from .prompts import Prompt, prompt_with_covariance, random_covariance, target_pair
from .stand_in import NAME as STAND_IN

SEED = 11               # of the pairs
ATTEMPTS = 5            # a turn, the first one included
LONGEST_WAIT = 60.0     # seconds between two attempts, whatever the endpoint asks for
ANSWER_TOKENS = 4_000   # the most that one answer may take, a model's reasoning included
BEGIN = b'{"turn": "'   # of every line of a transcript
SHORT_ANSWER = 30       # tokens of an answer without reasoning, about
UNUSABLE = ("refused", "cut-off", "malformed", "wrong-length", "not-finite")  # what a model said, and no weights
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


class _Stopped(Exception):
    """Another pair ended the run."""


class Transcript:
    """Every attempt of an experiment, one JSON object a line, and the budget that they share.

    Reading changes nothing in the file. A last line that a kill cut short is passed over, and the next attempt
    takes its place. Safe to use from several threads.

    Args:
        path: the file; the first attempt makes it where it does not exist.
        budget: the most tokens, those in the file included.

    Raises:
        ValueError: a line that is no attempt, a budget below 1.
    """

    def __init__(self, path: str | Path, budget: int = 3_000_000) -> None:
        self.path, self.budget = Path(path), _checks.count("budget", budget)
        self.attempts: dict[str, list[dict]] = {}
        self.answered_by: set[str] = set()  # the names that the endpoint gave with its answers
        self.tokens_in = self.tokens_out = self._reserved = 0
        self._lock = threading.Lock()
        self._cut: int | None = None  # where a line begins that a kill cut short
        self._lead = ""               # what the next line needs before it
        self._size = 0                # of the file as it was read
        if self.path.exists():
            text = self.path.read_bytes()
            self._size = len(text)
            for number, line in enumerate(text.splitlines(keepends=True), start=1):
                try:
                    self._enter(json.loads(line))
                    self._lead = "" if line.endswith(b"\n") else "\n"
                except (ValueError, TypeError, KeyError) as error:
                    begun = isinstance(error, json.JSONDecodeError) and (BEGIN.startswith(line) or line.startswith(BEGIN))
                    if line.endswith(b"\n") or not begun:
                        raise _checks.bad("path", f"{path}, whose line {number} is no attempt",
                                          "a transcript") from error
                    self._cut = len(text) - len(line)

    def _enter(self, entry: dict) -> None:
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
                raise BudgetReached(f"{self.tokens:,} of {self.budget:,} tokens are spent and the next request "
                                    f"could take {tokens + self._reserved:,}")
            self._reserved += tokens

    def append(self, entry: dict, reserved: int) -> None:
        """Write an attempt to the disk, in place of what was reserved for it.

        Raises:
            RuntimeError: an unended last line that another run has written after.
        """
        with self._lock:
            self._reserved -= reserved
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if (self._cut is not None or self._lead) and self.path.stat().st_size != self._size:
                raise RuntimeError(f"another run writes to {self.path}")  # what it wrote is not this one's to mend
            if self._cut is not None:
                os.truncate(self.path, self._cut)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lead + json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._cut, self._lead = None, ""
            self._enter(entry)

    def entries(self) -> list[dict]:
        """Every attempt, those of a turn in their order."""
        return list(chain.from_iterable(map(list, list(self.attempts.values()))))

    def kinds(self) -> Counter:
        """How often each kind of answer occurs."""
        return Counter(entry["kind"] for entry in self.entries())

    def models(self) -> set[str]:
        """The names under which models were asked."""
        return {entry["model"] for entry in self.entries()}

    def ended(self) -> set[str]:
        """The names of the pairs that unusable answers ended."""
        return {turn.split("/")[0] for turn, entries in self.attempts.items()
                if sum(entry["kind"] in UNUSABLE for entry in entries) >= ATTEMPTS}

    @property
    def of_a_model(self) -> bool:
        """Whether a language model answered, and not the stand-in, under whatever name it was asked."""
        return bool(self.attempts) and STAND_IN not in self.answered_by


def given_transcript() -> Transcript | None:
    """The transcript at AGENT_DYNAMICS_TRANSCRIPT; None where there is none with an answer in it."""
    path = Path(os.environ.get("AGENT_DYNAMICS_TRANSCRIPT") or os.devnull)
    transcript = Transcript(path) if path.is_file() else None
    return transcript if transcript and transcript.kinds()["ok"] else None


def connect(url: str | None = None, key: str | None = None, timeout: float = 120.0) -> openai.OpenAI:
    """The official client, without retries of its own.

    Args:
        url, key: of the endpoint; by default OPENAI_BASE_URL and OPENAI_API_KEY of the environment.
        timeout: seconds.

    Raises:
        ValueError: no key.
    """
    if not (key or os.environ.get("OPENAI_API_KEY")):
        raise _checks.bad("OPENAI_API_KEY", "not set", "the endpoint's key")
    host = urlsplit(url or os.environ.get("OPENAI_BASE_URL", "")).hostname
    # A proxy of the environment would not find this machine's own servers.
    http = openai.DefaultHttpxClient(trust_env=host not in ("127.0.0.1", "localhost", "::1"))
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout, http_client=http)


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

    An attempt that fails is recorded with its kind and made again, after a wait that doubles or that the endpoint
    asked for. Answers without usable weights (UNUSABLE) count against the attempts of the turn for ever; what the
    endpoint failed to do (rate-limited, server-error, timeout, connection) is forgiven when a run is resumed.

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

    def __init__(self, prompt: Prompt, name: str, model: str, transcript: Transcript,
                 client: openai.OpenAI | None = None, wait: float = 1.0,
                 sleep: Callable[[float], object] = time.sleep) -> None:
        if prompt.gram.ndim != 2:
            raise _checks.bad("prompt", f"a batch of shape {tuple(prompt.gram.shape[:-2])}", "one prompt")
        self.prompt, self.name, self.model = prompt, name, model
        self.transcript, self.client, self.wait, self.sleep = transcript, client, wait, sleep
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
            made += entry["kind"] in UNUSABLE
        kinds = []
        while made < ATTEMPTS:
            if self.client is None:
                raise NoAnswer(f"{turn}: the transcript ends here")
            entry, asked_to_wait = self._ask(turn, asked)
            if entry["kind"] == "ok":
                return self._message(entry)
            if entry["kind"] == "rejected":
                raise Rejected(f"{turn}: {entry['answer']}")
            kinds.append(entry["kind"])
            made += 1
            if made < ATTEMPTS:
                self.sleep(min(max(self.wait * 2 ** (len(kinds) - 1), asked_to_wait), LONGEST_WAIT))
        raise NoAnswer(f"{turn}: {', '.join(kinds) or 'its attempts are used up'}")

    def _message(self, entry: dict) -> Tensor:
        return torch.tensor(entry["weights"], dtype=self.target.dtype, device=self.target.device)

    def _ask(self, turn: str, asked: list[dict[str, str]]) -> tuple[dict, float]:
        """Make one attempt: its entry, and the seconds that the endpoint asks to wait."""
        # A token is at least one byte; 100 more for what the endpoint puts around the messages.
        most = [sum(len(part["content"].encode()) for part in asked) + 100, ANSWER_TOKENS]
        self.transcript.reserve(sum(most))
        weights, answered_by, tokens, wait = None, "", most, 0.0
        try:
            reply = self.client.chat.completions.create(
                model=self.model, messages=asked, max_completion_tokens=ANSWER_TOKENS,
                response_format=_answer_format(self.prompt.dimension))
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
                text = f"{answered_by} answers, and the transcript has answers of {self.transcript.answered_by}"
        except openai.APIStatusError as error:
            kind, text, tokens, wait = _failed(error), str(error), [0, 0], _asked_to_wait(error)
        except openai.APITimeoutError as error:
            kind, text = "timeout", str(error)
        except openai.APIConnectionError as error:
            kind, text = "connection", f"{error} {error.__cause__ or ''}"
            if isinstance(error.__cause__, httpx2.ConnectError):  # nobody was asked
                tokens = [0, 0]
        except (openai.OpenAIError, ValueError, TypeError, IndexError, AttributeError) as error:
            kind, text = "server-error", f"no chat completion: {type(error).__name__}: {error}"
        text, answered_by = ((part or "").replace(self.client.api_key, "[key]") for part in (text, answered_by))
        entry = {"turn": turn, "model": self.model, "answered_by": answered_by, "asked": asked, "kind": kind,
                 "answer": text, "weights": weights, "tokens_in": tokens[0], "tokens_out": tokens[1]}
        self.transcript.append(entry, sum(most))
        return entry, wait

    def _mixes(self, answered_by: str) -> bool:
        """Whether one transcript would hold both a model's answers and the stand-in's."""
        before = self.transcript.answered_by
        return bool(before) and (STAND_IN in before) != (answered_by == STAND_IN)


def _failed(error: openai.APIStatusError) -> str:
    # An empty account is reported as a rate limit, and no waiting helps.
    if error.status_code == 429 and error.code != "insufficient_quota":
        return "rate-limited"
    return "server-error" if error.status_code in (408, 409) or error.status_code >= 500 else "rejected"


def _asked_to_wait(error: openai.APIStatusError) -> float:
    """The seconds of a Retry-After header, which is a number or a date; 0 without one."""
    header = error.response.headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(header))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return 0.0


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


def experiment(pairs: int, seed: int = SEED) -> list[Pair]:
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

    A pair ends early at a turn without an answer; the transcript says why. Whatever ends the run, it waits for the
    requests under way.

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

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise _Stopped

    def exchange(pair: Pair) -> Tensor:
        agents = [LanguageModelAgent(prompt, f"{pair.name}/{letter}", model, transcript, client, wait, sleep)
                  for letter, prompt in (("W", pair.prompt_w), ("U", pair.prompt_u))]
        messages = [torch.zeros_like(pair.prompt_w.target)]
        try:
            for index in range(2 * _checks.count("turns", turns)):
                if stopped.is_set():
                    break
                messages.append(agents[index % 2](messages[-1]))
                progress()
        except (NoAnswer, _Stopped):
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


def replay(transcript: Transcript) -> tuple[list[Pair], dict[str, Tensor]]:
    """The pairs that a transcript holds, and their messages as `run` returns them; nothing is asked.

    Raises:
        ValueError: a transcript that no single run of `experiment` and one model wrote.
    """
    names = {turn.split("/")[0] for turn in transcript.attempts}
    try:
        model, = transcript.models()
        (seed, count), = Counter(int(name.split("-")[0]) for name in names).items()
    except ValueError as error:
        raise _checks.bad("transcript", f"of {len(names)} pairs and {len(transcript.models())} models",
                          "of one experiment with one model") from error
    last = max(int(name.split("-")[1]) for name in names)
    pairs = [pair for pair in experiment(last + 1, seed) if pair.name in names]
    turns = max(int(turn.rsplit("/", 1)[1]) for turn in transcript.attempts)
    return pairs, run(pairs, turns, model, transcript)


def effective_step(prompt: Prompt, received: Tensor, sent: Tensor) -> tuple[float, float]:
    """The step size that explains an agent's replies best, and the share of their movement that it explains.

    The least-squares eta in sent - received = -eta S (received - t), and R^2 = 1 - ||rest||^2 / ||moved||^2. Of
    an agent that never moves it is (0, 0); of messages without a gradient there is none, (nan, nan).

    Args:
        prompt: the agent's.
        received, sent: messages and the replies to them, shape (m, d).
    """
    moved, downhill = sent - received, -prompt.gradient(received)
    if not downhill.square().sum() > 0:
        return math.nan, math.nan
    if not moved.square().sum() > 0:
        return 0.0, 0.0
    eta = (moved * downhill).sum() / downhill.square().sum()
    return eta.item(), (1 - (moved - eta * downhill).square().sum() / moved.square().sum()).item()


def predicted_plateaus(pair: Pair, step_w: float, step_u: float) -> tuple[float, float]:
    """||e_W|| and ||e_U|| of gradient agents with these steps; (nan, nan) where they do not settle."""
    try:
        limit = equilibrium(GradientAgent(pair.prompt_w, step_w), GradientAgent(pair.prompt_u, step_u))
    except ValueError:  # a step that is not positive, or not stable
        return math.nan, math.nan
    return limit.error_w.norm().item(), limit.error_u.norm().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment on an endpoint, or go on with it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--transcript", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=3_000_000, help="tokens, those in the transcript included")
    parser.add_argument("--workers", type=int, default=4, help="the most requests at one time")
    parser.add_argument("--wait", type=float, default=1.0, help="seconds before the second attempt")
    parser.add_argument("--prices", type=float, nargs=2, metavar=("IN", "OUT"),
                        help="of a million tokens asked and answered, to show the cost")
    given = parser.parse_args(arguments)
    try:
        _go_on(given, experiment(given.pairs), Transcript(given.transcript, given.budget))
    except BudgetReached as error:
        raise SystemExit(f"The budget is reached: {error}. The same command with a larger BUDGET goes on."
                         ) from None
    except Rejected as error:
        raise SystemExit(f"The endpoint rejects the request: {error}\nCheck OPENAI_BASE_URL, OPENAI_API_KEY and "
                         "MODEL; the endpoint must know structured output. The same command goes on.") from None
    except ValueError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print(f"Stopped. Every answer so far is in {given.transcript}; the same command goes on.", flush=True)
        raise SystemExit(130) from None


def _go_on(given: argparse.Namespace, pairs: list[Pair], transcript: Transcript) -> None:
    others = ", ".join(transcript.models() - {given.model})
    if others:
        raise _checks.bad("MODEL", f"{given.model}, while {transcript.path} is of {others}",
                          f"{others}, to go on with it; or move that file away to start anew")
    print(_estimate(pairs, given.turns, transcript, given.prices), flush=True)
    with connect() as client, tqdm(total=2 * len(pairs) * given.turns, unit="reply") as bar:
        def progress() -> None:
            bar.set_postfix_str(_spent(transcript, given.prices), refresh=False)
            bar.update()

        messages = run(pairs, given.turns, given.model, transcript, client, given.workers, given.wait, progress)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(transcript.kinds().items()))
    print(f"{transcript.path}: {kinds}; {_spent(transcript, given.prices)}.")
    if not transcript.of_a_model:
        print("The stand-in answered, no language model.")
    short = {name for name, said in messages.items() if len(said) <= 2 * given.turns}
    ended = transcript.ended() & short
    if ended:
        print(f"{len(ended)} of {len(pairs)} pairs ended early: {ATTEMPTS} unusable answers in one turn.")
    if short - ended:
        raise SystemExit(f"{len(short - ended)} of {len(pairs)} pairs wait for the endpoint, which failed in a "
                         "turn of each. The same command tries them again.")


def _estimate(pairs: Sequence[Pair], turns: int, transcript: Transcript, prices: Sequence[float] | None) -> str:
    requests, answered = 2 * len(pairs) * turns, [e for e in transcript.entries() if e["kind"] == "ok"]
    if answered:
        each_in, each_out = (sum(e[key] for e in answered) // len(answered) for key in ("tokens_in", "tokens_out"))
    else:  # numbers take about a token for two characters
        asked = question(pairs[0].prompt_w, pairs[0].prompt_w.target)
        each_in, each_out = sum(len(part["content"]) for part in asked) // 2, SHORT_ANSWER
    left = max(requests - len(answered), 0)
    likely, most = ((left * each_in, left * out) for out in (each_out, ANSWER_TOKENS))
    return (f"{len(pairs)} pairs x {turns} turns: {requests:,} requests, {len(answered):,} of them answered.\n"
            f"The others take about {each_in} tokens each and {each_out} for the answer: "
            f"{_tokens(likely, prices)}.\n"
            f"Where a model reasons at length it is up to {_tokens(most, prices)}.\n"
            f"Spent so far: {_spent(transcript, prices)}; the budget is {transcript.budget:,} tokens.")


def _spent(transcript: Transcript, prices: Sequence[float] | None) -> str:
    return _tokens((transcript.tokens_in, transcript.tokens_out), prices)


def _tokens(tokens: Sequence[int], prices: Sequence[float] | None) -> str:
    cost = f", cost {sum(map(operator.mul, tokens, prices)) / 1e6:.2f}" if prices else ""
    return f"{sum(tokens):,} tokens{cost}"


if __name__ == "__main__":
    main()
