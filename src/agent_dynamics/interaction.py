"""The exchange: agents take turns improving one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import _checks
from .agents import AffineAgent

ROUNDS_A_CHECK = 100


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Every message of an exchange, in the order in which they were sent.

    Attributes:
        messages: shape (..., turns * N + 1, d) for N agents; the first is the start, then message
            1 + turn * N + i is agent i's.
        targets: the agents' targets, each of shape (..., d).
    """

    messages: Tensor
    targets: tuple[Tensor, ...]

    def by_agent(self, index: int) -> Tensor:
        """The messages that one agent sent, shape (..., turns, d)."""
        return self.messages[..., 1 + index::len(self.targets), :]

    def errors(self) -> Tensor:
        """Distance of each message to its sender's own target, shape (..., turns, N)."""
        return torch.stack([
            torch.linalg.vector_norm(self.by_agent(i) - target.unsqueeze(-2), dim=-1)
            for i, target in enumerate(self.targets)
        ], dim=-1)


def interact(agents: Sequence[AffineAgent], start: Tensor, turns: int) -> Trajectory:
    """Let agents reply to each other in order, `turns` times round.

    With two agents this is w_{t+1} = T_W(u_t), u_{t+1} = T_U(w_{t+1}), from u_0 = start.

    Args:
        agents: one or more, each acting on the message of the one before.
        start: the first message, shape (..., d).
        turns: rounds, at least 1.

    Raises:
        ValueError: no agents, a start whose dimension is not the agents' or that is not finite, fewer than
            one turn.
    """
    message = _start(agents, start)
    turns = _checks.count("turns", turns)
    messages = [message]
    for _ in range(turns):
        for agent in agents:
            messages.append(agent(messages[-1]))
    # The start and the first replies may lack batch dimensions that later agents bring.
    return Trajectory(torch.stack(torch.broadcast_tensors(*messages), dim=-2),
                      tuple(agent.target for agent in agents))


def settle(
    agents: Sequence[AffineAgent], start: Tensor, *, tolerance: float = 1e-13, turns: int = 1_000_000,
) -> list[Tensor]:
    """Let agents reply to each other until no message moves any more, keeping only the last round.

    The exchange stops when over 100 rounds every message of the batch has moved by at most `tolerance`
    relative to its largest entry (or to 1, where that is larger).

    Args:
        agents: one or more, as in `interact`.
        start: the first message, shape (..., d).
        tolerance: the relative movement that counts as none.
        turns: the most rounds.

    Returns:
        The last message of each agent, each of shape (..., d).

    Raises:
        ValueError: as `interact`.
        RuntimeError: messages that still move after `turns` rounds, or that are no longer finite.
    """
    message = _start(agents, start)
    turns = _checks.count("turns", turns)
    for _ in range(0, turns, ROUNDS_A_CHECK):
        before = message
        for _ in range(ROUNDS_A_CHECK):
            last = []
            for agent in agents:
                message = agent(message)
                last.append(message)
        if not torch.isfinite(message).all():
            raise RuntimeError("the exchange diverged: its messages are no longer finite")
        moved = (message - before).abs().amax(-1)  # squares, as in the Euclidean norm, could overflow
        if (moved <= tolerance * message.abs().amax(-1).clamp_min(1)).all():
            return last
    raise RuntimeError(f"the exchange still moves by {moved.max().item():.2g} after {turns} turns")


def _start(agents: Sequence[AffineAgent], start: Tensor) -> Tensor:
    if not agents:
        raise _checks.bad("agents", "empty", "at least one agent")
    first = agents[0].target
    start = _checks.last_dimension("start", _checks.real_tensor("start", start, like=first), first.shape[-1])
    for agent in agents[1:]:
        if agent.target.shape[-1] != first.shape[-1]:
            raise _checks.bad("agents", f"of dimensions {first.shape[-1]} and {agent.target.shape[-1]}",
                              "of one dimension")
    return start

