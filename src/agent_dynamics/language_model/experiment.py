"""The experiment: pairs of language-model agents, and their runs."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import _checks
from ..prompts import Prompt, prompt_with_covariance, random_covariance, target_pair
from .agent import LanguageModelAgent, NoAnswer
from .endpoint import Endpoint
from .question import PLAIN, VARIANTS, Shown, Variant
from .transcript import Transcript

SEED = 11  # of the pairs
VARIANT_PAIRS, VARIANT_TURNS = 6, 5  # the most of the variants but the plain one
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
    """A pair of prompts of the experiment, and what its agents are shown.

    Attributes:
        name: SEED-NUMBER, and -VARIANT where that is not the plain one.
        kind: "aligned", "misaligned" or "one-sided"; there U is blind to the gap.
        angle: between the targets, in radians.
        prompt_w, prompt_u: the agents' own examples.
        variant: what the models are shown.
        worked: steps on other prompts, for the variants that show some.
    """

    name: str
    kind: str
    angle: float
    prompt_w: Prompt
    prompt_u: Prompt
    variant: Variant = PLAIN
    worked: tuple[Shown, ...] = ()


def experiment(pairs: int, seed: int = SEED, variant: Variant = PLAIN) -> list[Pair]:
    """The pairs of the experiment: the kinds and angles of KINDS in turn, each pair
    from a seed of its own.

    Prompts have eigenvalues from 2/3 to 2 in three dimensions, so that a step of 0.4
    has eta lambda <= 0.8. Every variant has the same pairs.
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
        name = f"{seed}-{index:03d}" + f"-{variant.name}" * (variant is not PLAIN)
        worked = tuple(_worked(g) for _ in range(variant.worked))
        prompt_w, prompt_u = prompts
        made.append(Pair(name, kind, angle, prompt_w, prompt_u, variant, worked))
    return made


def _worked(generator: torch.Generator) -> Shown:
    """A prompt of the experiment's kind, and an estimate to improve."""
    target, start = target_pair(DIMENSION, math.pi / 2, generator=generator)
    covariance = random_covariance(DIMENSION, 3.0, largest=2.0, generator=generator)
    prompt = prompt_with_covariance(covariance, target, EXAMPLES, generator=generator)
    return prompt, start


def run(
    pairs: Sequence[Pair],
    turns: int,
    transcript: Transcript,
    endpoint: Endpoint | None = None,
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
        transcript, endpoint, wait: as of LanguageModelAgent.
        workers: the most requests at one time.
        progress: called after every reply.

    Returns:
        The messages of each pair by its name, the start first, shape
        (2 * turns + 1, d) or shorter.

    Raises:
        BudgetReached, Rejected, NotWritten, ValueError: as LanguageModelAgent; what was
            answered is in the transcript.
    """
    stopped = threading.Event()

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise _Stopped

    def exchange(pair: Pair) -> Float[Tensor, "messages d"]:
        agents = [
            LanguageModelAgent(
                prompt,
                f"{pair.name}/{letter}",
                transcript,
                endpoint,
                pair.variant,
                pair.worked,
                wait,
                sleep,
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
        (_model,) = transcript.models()
        parts = [(f"{name}-{PLAIN.name}").split("-", 2) for name in names]
        ((seed, _count),) = Counter(int(part[0]) for part in parts).items()
        last = max(int(part[1]) for part in parts)
        shown = {part[2].removesuffix(f"-{PLAIN.name}") for part in parts}
        variants = [v for name, v in VARIANTS.items() if name in shown]
        if len(variants) != len(shown):
            raise ValueError
    except ValueError as error:
        raise _checks.bad(
            "transcript",
            f"of {len(names)} pairs and {len(transcript.models())} models",
            "of one experiment with one model",
        ) from error
    made = [p for variant in variants for p in experiment(last + 1, seed, variant)]
    pairs = [pair for pair in made if pair.name in names]
    turns = max(int(turn.rsplit("/", 1)[1]) for turn in transcript.attempts)
    return pairs, run(pairs, turns, transcript)
