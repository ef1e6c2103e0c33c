"""The experiment: pairs of language-model agents, their runs, and what is read off
their messages.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import openai
import torch
from jaxtyping import Float
from torch import Tensor

from .. import _checks
from ..agents import GradientAgent
from ..equilibrium import equilibrium
from ..prompts import Prompt, prompt_with_covariance, random_covariance, target_pair
from .agent import LanguageModelAgent, NoAnswer
from .transcript import Transcript

SEED = 11  # of the pairs
DIMENSION, EXAMPLES = 3, 6
KINDS = (
    ("aligned", 0.0),
    ("misaligned", math.pi / 4),
    ("misaligned", math.pi / 2),
    ("misaligned", 3 * math.pi / 4),
    ("misaligned", math.pi),
    ("one-sided", math.pi / 2),
)


class _Stopped(Exception):
    """Another pair ended the run."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A pair of prompts of the experiment; U's is blind to the gap where the kind is
    one-sided.
    """

    name: str
    kind: str
    angle: float
    prompt_w: Prompt
    prompt_u: Prompt


def experiment(pairs: int, seed: int = SEED) -> list[Pair]:
    """The pairs of the experiment: the kinds and angles of KINDS in turn, each pair
    from a seed of its own.

    Prompts have eigenvalues from 2/3 to 2 in three dimensions, so that a step of 0.4
    has eta lambda <= 0.8.
    """
    made = []
    for index in range(_checks.count("pairs", pairs)):
        g = torch.Generator().manual_seed(1_000 * seed + index)
        kind, angle = KINDS[index % len(KINDS)]
        targets = target_pair(DIMENSION, angle, generator=g)
        covariances = random_covariance(
            DIMENSION, 3.0, largest=2.0, generator=g, shape=(2,)
        )
        if kind == "one-sided":
            along = torch.nn.functional.normalize(targets[1] - targets[0], dim=0)
            away = torch.eye(DIMENSION, dtype=along.dtype) - torch.outer(along, along)
            blind = away @ covariances[1] @ away
            covariances[1] = (blind + blind.T) / 2
        prompts = [
            prompt_with_covariance(s, t, EXAMPLES, generator=g)
            for s, t in zip(covariances, targets, strict=True)
        ]
        made.append(Pair(f"{seed}-{index:03d}", kind, angle, *prompts))
    return made


def run(
    pairs: Sequence[Pair],
    turns: int,
    model: str,
    transcript: Transcript,
    client: openai.OpenAI | None = None,
    workers: int = 1,
    wait: float = 1.0,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Float[Tensor, "_ d"]]:
    """Let the two agents of every pair alternate from zero, several pairs at once.

    A pair ends early at a turn without an answer; the transcript says why. Whatever
    ends the run, it waits for the requests under way.

    Args:
        pairs: of the experiment.
        turns: rounds, one reply of each agent.
        model, transcript, client, wait: as of LanguageModelAgent.
        workers: the most requests at one time.
        progress: called after every reply.

    Returns:
        The messages of each pair by its name, the start first, shape
        (2 * turns + 1, d) or shorter.

    Raises:
        BudgetReached, Rejected, ValueError: as LanguageModelAgent; what was answered is
            in the transcript.
    """
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise _Stopped

    def exchange(pair: Pair) -> Float[Tensor, "messages d"]:
        agents = [
            LanguageModelAgent(
                prompt, f"{pair.name}/{letter}", model, transcript, client, wait, sleep
            )
            for letter, prompt in (("W", pair.prompt_w), ("U", pair.prompt_u))
        ]
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
            # The other pairs end too, after the request that is under way.
            stopped.set()
            raise
        return torch.stack(messages)

    with ThreadPoolExecutor(_checks.count("workers", workers)) as pool:
        results = pool.map(exchange, pairs)
        try:
            return {
                pair.name: messages
                for pair, messages in zip(pairs, results, strict=True)
            }
        except BaseException:
            stopped.set()
            raise


def replay(
    transcript: Transcript,
) -> tuple[list[Pair], dict[str, Float[Tensor, "_ d"]]]:
    """The pairs that a transcript holds, and their messages as `run` returns them;
    nothing is asked.

    Raises:
        ValueError: a transcript that no single run of `experiment` and one model wrote.
    """
    names = {turn.split("/")[0] for turn in transcript.attempts}
    try:
        (model,) = transcript.models()
        ((seed, _count),) = Counter(int(name.split("-")[0]) for name in names).items()
    except ValueError as error:
        raise _checks.bad(
            "transcript",
            f"of {len(names)} pairs and {len(transcript.models())} models",
            "of one experiment with one model",
        ) from error
    last = max(int(name.split("-")[1]) for name in names)
    pairs = [pair for pair in experiment(last + 1, seed) if pair.name in names]
    turns = max(int(turn.rsplit("/", 1)[1]) for turn in transcript.attempts)
    return pairs, run(pairs, turns, model, transcript)


def effective_step(
    prompt: Prompt, received: Float[Tensor, "m d"], sent: Float[Tensor, "m d"]
) -> tuple[float, float]:
    """The step size that explains an agent's replies best, and the share of their
    movement that it explains.

    The least-squares eta in sent - received = -eta S (received - t), and R^2 = 1 -
    ||rest||^2 / ||moved||^2. Of an agent that never moves it is (0, 0); of messages
    without a gradient there is none, (nan, nan).

    Args:
        prompt: the agent's.
        received, sent: messages and the replies to them, shape (m, d).

    Raises:
        ValueError: shapes that differ.
    """
    if not received.shape == sent.shape == (len(received), prompt.dimension):
        raise _checks.bad(
            "received and sent",
            f"of shapes {tuple(received.shape)} and {tuple(sent.shape)}",
            f"both of shape (m, {prompt.dimension})",
        )
    moved, downhill = sent - received, -prompt.gradient(received)
    if not downhill.square().sum() > 0:
        return math.nan, math.nan
    if not moved.square().sum() > 0:
        return 0.0, 0.0
    eta = (moved * downhill).sum() / downhill.square().sum()
    return eta.item(), (
        1 - (moved - eta * downhill).square().sum() / moved.square().sum()
    ).item()


def predicted_plateaus(pair: Pair, step_w: float, step_u: float) -> tuple[float, float]:
    """||e_W|| and ||e_U|| of gradient agents with these steps; (nan, nan) where they do
    not settle.
    """
    try:
        limit = equilibrium(
            GradientAgent(pair.prompt_w, step_w), GradientAgent(pair.prompt_u, step_u)
        )
    except ValueError:  # a step that is not positive, or not stable
        return math.nan, math.nan
    return limit.error_w.norm().item(), limit.error_u.norm().item()
