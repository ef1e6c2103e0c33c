"""Every message of an exchange of gradient agents, without taking turn after turn.

A gradient step is an affine map, and so is a round of them: a row v becomes v (I - eta S) + eta t'S for a step.
Both are kept as one matrix (d + 1, d), the shift below the linear part, which acts on rows (v, 1). So the first k
messages of the last agent give its next k in one product with the k-th power of the round, whose square gives
the 2k after them. One more product turns each of its messages into the replies of all agents.

NumPy, whose products of many small matrices were faster than torch's where tried, and several threads, because one
of NumPy's products takes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from .agents import AffineAgent, GradientAgent, Repeated

SCRATCH = 2**21  # bytes a thread works on besides its messages: in cache, yet enough not to queue for Python


def applies(agents: Sequence[AffineAgent], start: Tensor) -> bool:
    """Whether `messages` can take these: gradient agents in float64 on the CPU, with nothing to differentiate."""
    members = [_unrepeated(agent)[0] for agent in agents]
    if not all(type(member) is GradientAgent for member in members):
        return False
    inputs = [start, *(x for m in members for x in (m.prompt.inputs, m.target, m.step_size))]
    return all(x.dtype == torch.float64 and x.device.type == "cpu" and not x.requires_grad for x in inputs)


def messages(agents: Sequence[AffineAgent], start: Tensor, turns: int) -> Tensor:
    """The start and every message of `turns` rounds, shape (..., turns * N + 1, d) for N agents."""
    members = [_unrepeated(agent) for agent in agents]
    count, d = len(members), start.shape[-1]
    batch = torch.broadcast_shapes(start.shape[:-1], *(member.target.shape[:-1] for member, _ in members), *(
        shape for member, _ in members for shape in (member.prompt.covariance.shape[:-2], member.step_size.shape)))

    def flat(x: Tensor, *own: int) -> np.ndarray:
        return x.expand((*batch, *own)).reshape(batch.numel(), *own).numpy()

    start = flat(start, d)
    steps = [(flat(member.prompt.covariance, d, d), flat(member.step_size), flat(member.target, d), repeats)
             for member, repeats in members]
    # NumPy asks for huge pages, torch does not: writing to new memory takes a third of the time.
    sent = np.empty((len(start), turns * count + 1, d))
    rows = max(1, SCRATCH // (8 * (d + 1) * (turns + 4 * d)))

    def fill(first: int) -> None:
        part = slice(first, first + rows)
        with np.errstate(over="ignore", invalid="ignore"):  # an exchange that diverges can be watched
            _fill(sent[part], start[part], [(*(x[part] for x in arrays), repeats) for *arrays, repeats in steps])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(fill, range(0, len(start), rows)))
    return torch.from_numpy(sent).reshape(*batch, *sent.shape[1:])


def _fill(sent: np.ndarray, start: np.ndarray, steps: list[tuple]) -> None:
    """Write the messages of some pairs; the arrays' first dimension is the pair."""
    (pairs, d), count = start.shape, len(steps)
    turns = (sent.shape[1] - 1) // count
    power, replies = None, np.empty((pairs, d + 1, count * d))
    for i, step in enumerate(steps):
        power = _affine(*step) if power is None else _after(power, _affine(*step))
        replies[..., i * d:(i + 1) * d] = power

    last = np.empty((pairs, turns, d + 1))  # what each round starts from: the last agent's messages
    last[:, 0, :d], last[..., d] = start, 1
    known = 1
    while known < turns:
        new = min(known, turns - known)
        np.matmul(last[:, :new], power, out=last[:, known:known + new, :d])
        known += new
        if known < turns:
            power = _after(power, power)

    sent[:, 0] = start
    np.matmul(last, replies, out=sent[:, 1:].reshape(pairs, turns, count * d))


def _affine(s: np.ndarray, eta: np.ndarray, t: np.ndarray, repeats: int) -> np.ndarray:
    """The steps of one turn as matrices (pairs, d + 1, d)."""
    pairs, d = t.shape
    step = eta[:, None, None] * s
    matrix = np.zeros((pairs, d + 1, d + 1))
    matrix[:, :d, :d] = np.eye(d) - step
    matrix[:, d:, :d] = t[:, None] @ step
    matrix[:, d, d] = 1
    return np.linalg.matrix_power(matrix, repeats)[..., :d]


def _after(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """One affine map after another. No product has a dimension d + 1 in its result: those are the slow ones."""
    d = then.shape[-1]
    both = first @ then[:, :d]
    both[:, d] += then[:, d]
    return both


def _unrepeated(agent: AffineAgent) -> tuple[AffineAgent, int]:
    """The agent within, and how many of its steps make one turn."""
    repeats = 1
    while type(agent) is Repeated:
        agent, repeats = agent.agent, repeats * agent.steps
    return agent, repeats * agent.steps if type(agent) is GradientAgent else repeats
