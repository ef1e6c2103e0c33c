"""Every message of an exchange of gradient agents, without taking turn after turn.

A gradient step is an affine map, and so is a round of them: a row v becomes v (I - eta
S) + eta t'S for a step. Both are kept as one matrix (d + 1, d), the shift below the
linear part, which acts on rows (v, 1). So of every second message of the last agent the
first k give the next k, in one product with the k-th power of two rounds, whose square
gives the 2k after them. One more product turns each into the replies of all agents in
two rounds.

NumPy, whose products of many small matrices were faster than torch's, and than turn
after turn in loops compiled by Numba for any d. Several threads, because one of
NumPy's products takes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .agents import Agent, GradientAgent, Repeated

# About the bytes a thread works on besides its messages: few, yet enough not to queue
# for Python.
SCRATCH = 2**23

Step = tuple[np.ndarray, np.ndarray, np.ndarray, int]  # S, eta, t and how often


def applies(agents: Sequence[Agent], start: Float[Tensor, "... d"]) -> bool:
    """Whether `messages` can take these: gradient agents in float64 on the CPU, with
    nothing to differentiate.
    """
    members = [
        member
        for member, _ in map(_unrepeated, agents)
        if type(member) is GradientAgent
    ]
    if len(members) < len(agents):
        return False
    inputs = [
        start,
        *(x for m in members for x in (m.prompt.inputs, m.target, m.step_size)),
    ]
    return all(
        x.dtype == torch.float64 and x.device.type == "cpu" and not x.requires_grad
        for x in inputs
    )


def messages(
    agents: Sequence[Agent], start: Float[Tensor, "... d"], turns: int
) -> Float[Tensor, "... messages d"]:
    """The start and every message of `turns` rounds, shape (..., turns * N + 1, d) for
    N agents.

    Raises:
        FloatingPointError: a number that overflows. It may be a power in a direction
            where the messages never go, and infinity times zero is not a number.
    """
    # `applies` has seen to their type.
    members = cast("list[tuple[GradientAgent, int]]", list(map(_unrepeated, agents)))
    count, d = len(members), start.shape[-1]
    batch = torch.broadcast_shapes(
        start.shape[:-1], *(member.batch for member, _ in members)
    )

    def flat(x: Tensor, *own: int) -> np.ndarray:
        return x.expand((*batch, *own)).reshape(batch.numel(), *own).numpy()

    starts = flat(start, d)
    steps = [
        (
            flat(member.prompt.covariance, d, d),
            flat(member.step_size),
            flat(member.target, d),
            repeats,
        )
        for member, repeats in members
    ]
    # NumPy asks for huge pages, torch does not: writing to new memory takes a third of
    # the time.
    sent = np.empty((len(starts), turns * count + 1, d))
    threads = torch.get_num_threads()
    # No thread is left without a part where the batch is small.
    rows = max(
        1, min(SCRATCH // (8 * (d + 1) * (turns + 4 * d)), -(-len(starts) // threads))
    )

    def fill(first: int) -> None:
        part = slice(first, first + rows)
        with np.errstate(over="raise", invalid="raise"):
            _fill(
                sent[part],
                starts[part],
                [
                    (s[part], eta[part], t[part], repeats)
                    for s, eta, t, repeats in steps
                ],
            )

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(0, len(starts), rows)))
    return torch.from_numpy(sent).reshape(*batch, *sent.shape[1:])


def _fill(sent: np.ndarray, start: np.ndarray, steps: list[Step]) -> None:
    """Write the messages of some pairs; the arrays' first dimension is the pair."""
    (pairs, d), width = start.shape, len(steps) * start.shape[1]
    turns = (sent.shape[1] - 1) // len(steps)
    # What two rounds reply to one message: a product for two is little slower than one
    # for a single round.
    replies = np.empty((pairs, d + 1, 2 * width))
    replies[..., :d] = _turn(*steps[0])
    for first, step in zip(range(0, width - d, d), steps[1:], strict=True):
        _after(
            replies[..., first : first + d],
            _turn(*step),
            out=replies[..., first + d : first + 2 * d],
        )
    _after(
        replies[..., width - d : width], replies[..., :width], out=replies[..., width:]
    )

    # The powers act on rows (v, 1) and give such rows: a last column of zeros and a one
    # saves adding the shift.
    power = np.zeros((pairs, d + 1, d + 1))
    power[:, d, d] = 1
    square = power.copy()
    power[..., :d] = replies[..., -d:]
    count = (turns + 1) // 2
    # What every second round starts from: the last agent's messages.
    last = np.empty((pairs, count, d + 1))
    last[:, 0, :d], last[..., d] = start, 1
    known = 1
    while known < count:
        new = min(known, count - known)
        np.matmul(last[:, :new], power[..., :d], out=last[:, known : known + new, :d])
        known += new
        if known < count:
            np.matmul(power, power[..., :d], out=square[..., :d])
            power, square = square, power

    whole = turns // 2
    sent[:, 0] = start
    written = sent[:, 1:].reshape(pairs, turns * width)
    np.matmul(
        last[:, :whole],
        replies,
        out=written[:, : 2 * whole * width].reshape(pairs, whole, 2 * width),
    )
    # One round is left where their number is odd.
    np.matmul(
        last[:, whole:],
        replies[..., :width],
        out=written[:, 2 * whole * width :].reshape(pairs, count - whole, width),
    )


def _turn(s: np.ndarray, eta: np.ndarray, t: np.ndarray, repeats: int) -> np.ndarray:
    """The steps of one turn as matrices (pairs, d + 1, d)."""
    pairs, d = t.shape
    step = np.empty((pairs, d + 1, d))
    # NumPy is slow where an inner loop has d entries alone.
    linear = step[:, :d].reshape(pairs, d * d)
    np.multiply(s.reshape(pairs, d * d), -eta[:, None], out=linear)
    np.matmul(-t[:, None], step[:, :d], out=step[:, d:])
    linear[:, :: d + 1] += 1
    return _power(step, repeats)


def _power(step: np.ndarray, repeats: int) -> np.ndarray:
    """An affine map after itself, `repeats` times in all."""
    if repeats == 1:
        return step
    half = _power(step, repeats // 2)
    whole = _after(half, half)
    return _after(whole, step) if repeats % 2 else whole


def _after(
    first: np.ndarray, then: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Affine maps one after another. No product has a dimension d + 1 in its result:
    those are the slow ones.
    """
    d = first.shape[-1]
    both = np.matmul(first, then[:, :d], out=out)
    both[:, d] += then[:, d]
    return both


def _unrepeated(agent: Agent) -> tuple[Agent, int]:
    """The agent within, and how many of its steps make one turn."""
    repeats = 1
    while type(agent) is Repeated:
        repeats *= agent.steps
        agent = agent.agent
    return agent, repeats * agent.steps if type(agent) is GradientAgent else repeats
