"""What is read off the messages of language-model agents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from .. import _checks
from ..agents import GradientAgent
from ..equilibrium import equilibrium
from ..prompts import Prompt
from .experiment import Pair, replay
from .question import PLAIN, STEP, Variant
from .transcript import Transcript

FITTED = 5  # rounds, the first ones, that the effective step is fitted to
SETTLED = 5  # rounds, the last ones, that a plateau is the mean of


@dataclass(frozen=True, eq=False)
class Speaker:
    """Who answered in a transcript, and what was said.

    Attributes:
        label: the model's name; of the stand-in, that it is no model.
        of_a_model: whether a language model answered.
        transcript: every attempt.
        pairs: that the transcript holds.
        messages: of each pair by its name, whole rounds, the start first, shape (m, d).
    """

    label: str
    of_a_model: bool
    transcript: Transcript
    pairs: list[Pair]
    messages: dict[str, Float[Tensor, "_ d"]]

    def whole(self, variant: Variant = PLAIN) -> list[Pair]:
        """The pairs of a variant that went as far as any of it, one round at least."""
        shown = [pair for pair in self.pairs if pair.variant is variant]
        longest = max((len(self.messages[pair.name]) for pair in shown), default=0)
        return [
            pair
            for pair in shown
            if len(self.messages[pair.name]) == longest and longest >= 3
        ]


def speakers(paths: Iterable[Path]) -> tuple[list[Speaker], list[str]]:
    """Who answered in the transcripts at some paths, and why others are left out.

    A transcript that cannot be read, or that no pair has a whole round in, is left out
    with a sentence that says so. Of two with one name the later is told apart by its
    file.
    """
    heard: list[Speaker] = []
    left_out = []
    for path in paths:
        try:
            transcript = Transcript(path)
            pairs, messages = replay(transcript)
        except (ValueError, OSError, RuntimeError, LZMAError) as error:
            left_out.append(f"{path.name} is left out: {error}.")
            continue
        # A run that was stopped may end within a round.
        whole = {name: m[: len(m) - 1 + len(m) % 2] for name, m in messages.items()}
        names = transcript.answered_by or transcript.models()
        label = " and ".join(sorted(names))
        if not transcript.of_a_model:
            label = "stand-in (no language model)"
        if label in {other.label for other in heard}:
            label += f", {path.name}"
        speaker = Speaker(label, transcript.of_a_model, transcript, pairs, whole)
        if speaker.whole():
            heard.append(speaker)
        else:
            left_out.append(f"{path.name} is left out: no pair has a whole round yet.")
    return heard, left_out


def fits(pair: Pair, messages: Float[Tensor, "m d"]) -> list[tuple[float, float]]:
    """The effective step and its R^2 of W and of U, in the first FITTED rounds."""
    part = messages[: 2 * FITTED + 1]
    return [
        effective_step(pair.prompt_w, part[:-1:2], part[1::2]),
        effective_step(pair.prompt_u, part[1:-1:2], part[2::2]),
    ]


def habits(
    pair: Pair, messages: Float[Tensor, "m d"]
) -> list[tuple[float, float, float]]:
    """What W and U do instead of a step: shares of the replies of each.

    Those that repeat the message received, those that are one number d times, and those
    that are the answer of a worked step.
    """
    shown = [GradientAgent(prompt, STEP)(start) for prompt, start in pair.worked]
    found = []
    for first in (0, 1):
        received, sent = messages[first:-1:2], messages[first + 1 :: 2]
        copied = [torch.isclose(sent, answer, rtol=1e-5).all(-1) for answer in shown]
        of_one_kind = (
            (sent == received).all(-1),
            (sent == sent[:, :1]).all(-1),
            torch.stack(copied).any(0) if copied else torch.zeros(len(sent)),
        )
        repeats, alike, worked = (x.double().mean().item() for x in of_one_kind)
        found.append((repeats, alike, worked))
    return found


def plateaus(pair: Pair, messages: Float[Tensor, "m d"]) -> tuple[float, float]:
    """Distances to their targets of the means of W's and U's last SETTLED messages."""
    w, u = (messages[start::2][-SETTLED:].mean(0) for start in (1, 2))
    return (
        (w - pair.prompt_w.target).norm().item(),
        (u - pair.prompt_u.target).norm().item(),
    )


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
