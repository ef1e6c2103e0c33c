"""The exchange: agents improve one message, in turn or by another protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks, _doubling
from .agents import Agent, Repeated, batch_of

ROUNDS_A_CHECK = 100


@dataclass(frozen=True)
class Protocol:
    """How messages are exchanged: by default the plain alternation (:eq:`eq-exchange`).

    Attributes:
        steps: inner steps per turn, one number for all agents or one for each.
        simultaneous: whether all agents reply to one message, whose successor is the
            mean of their replies.
        noise: standard deviation of Gaussian noise on every entry of every message
            sent.
        digits: decimals that every message sent is rounded to, after the noise; None
            where it is not.

    Raises:
        ValueError: fewer than one step, negative noise, digits not between 0 and 15.
    """

    steps: int | tuple[int, ...] = 1
    simultaneous: bool = False
    noise: float = 0.0
    digits: int | None = None

    def __post_init__(self) -> None:
        for steps in self.steps if isinstance(self.steps, tuple) else (self.steps,):
            _checks.count("steps", steps)
        if _checks.finite_number("noise", self.noise) < 0:
            raise _checks.bad("noise", self.noise, "at least 0")
        # A float64 near 1 has no more.
        if self.digits is not None and _checks.count("digits", self.digits, 0) > 15:
            raise _checks.bad("digits", self.digits, "at most 15")

    def players(self, agents: Sequence[Agent]) -> list[Agent]:
        """The agents with their inner steps, as the closed forms of `equilibrium` need
        them.

        Raises:
            ValueError: another number of agents than `steps` has entries.
        """
        steps = (
            self.steps if isinstance(self.steps, tuple) else (self.steps,) * len(agents)
        )
        if len(steps) != len(agents):
            raise _checks.bad(
                "steps",
                f"{steps} for {len(agents)} agents",
                "one number, or one for each agent",
            )
        return [
            agent if k == 1 else Repeated(agent, k)
            for agent, k in zip(agents, steps, strict=True)
        ]

    @property
    def alternates(self) -> bool:
        """Whether the agents reply in turn and every message arrives as it was sent."""
        return not self.simultaneous and not self.noise and self.digits is None

    def send(
        self, message: Float[Tensor, "*batch d"], generator: torch.Generator | None
    ) -> Float[Tensor, "*batch d"]:
        """A message (..., d) as it arrives: with noise, then rounded."""
        if self.noise:
            random = _checks.generator(generator)
            message = message + self.noise * torch.randn(
                message.shape,
                generator=random,
                dtype=message.dtype,
                device=message.device,
            )
        return message if self.digits is None else message.round(decimals=self.digits)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Every message of an exchange, in the order in which they were sent.

    Attributes:
        messages: shape (..., turns * N + 1, d) for N agents; the first is the start,
            then message 1 + turn * N + i is agent i's.
        targets: the agents' targets, each of shape (..., d).
    """

    messages: Float[Tensor, "... messages d"]
    targets: tuple[Float[Tensor, "... d"], ...]

    def by_agent(self, index: int) -> Float[Tensor, "... turns d"]:
        """Messages that one agent sent, shape (..., turns, d); agents count from 0."""
        if index not in range(len(self.targets)):
            raise _checks.bad("index", index, f"from 0 to {len(self.targets) - 1}")
        return self.messages[..., 1 + index :: len(self.targets), :]

    def errors(self) -> Float[Tensor, "... turns {len(self.targets)}"]:
        """Distance of each message to its sender's own target, shape (..., turns, N).

        Targets are those from before the first turn: of a helper, which changes its
        own, this says nothing.
        """
        return torch.stack(
            [
                torch.linalg.vector_norm(
                    self.by_agent(i) - target.unsqueeze(-2), dim=-1
                )
                for i, target in enumerate(self.targets)
            ],
            dim=-1,
        )


def interact(
    agents: Sequence[Agent] | Callable[[int], Sequence[Agent]],
    start: Float[Tensor, "... d"],
    turns: int,
    protocol: Protocol = Protocol(),
    *,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Let agents reply to each other in order, `turns` times round, or as another
    protocol says.

    With two agents this is w_{t+1} = T_W(u_t), u_{t+1} = T_U(w_{t+1}), from u_0 = start
    (:eq:`eq-exchange`). Where all agents are gradient agents and do just that, powers
    of the round give all turns at once (`_doubling`): the same messages up to rounding.
    All other agents, trained ones among them, are asked turn by turn.

    Args:
        agents: one or more, each acting on the message of the one before; where their
            prompts are redrawn, or who speaks is, a function that returns the agents of
            a turn, turns counted from 0. `errors` keeps the targets of the first.
        start: the first message, shape (..., d).
        turns: rounds, at least 1.
        protocol: what differs from the plain alternation.
        generator: source of the protocol's noise, where it has any. Each pair of a
            batch has noise of its own where the start or the targets have the batch's
            dimensions.

    Raises:
        ValueError: no agents, a start whose dimension is not the agents' or that is not
            finite, a start and targets that do not broadcast, fewer than one turn,
            steps for another number of agents, noise without a generator.
    """
    if hasattr(agents, "target"):
        raise _checks.bad(
            "agents",
            "one agent",
            "a sequence of agents, or a function that returns one",
        )
    draw = agents if callable(agents) else lambda turn: agents
    players = protocol.players(draw(0))
    message = _start(players, start)
    messages, targets = [message], tuple(player.target for player in players)
    turns = _checks.count("turns", turns)
    # Or pairs would share the noise of the first messages, which may lack their
    # dimensions.
    if protocol.noise:
        message = message.expand(
            *_checks.broadcast_shapes(
                start=message.shape[:-1],
                targets=torch.broadcast_shapes(
                    *(target.shape[:-1] for target in targets)
                ),
            ),
            message.shape[-1],
        )
        messages = [message]
    if (
        agents is not draw
        and protocol.alternates
        and _doubling.applies(players, message)
    ):
        # Turn by turn it may be finite, or can be watched as it diverges.
        with suppress(FloatingPointError):
            return Trajectory(_doubling.messages(players, message, turns), targets)
    for turn in range(turns):
        if turn:
            players = protocol.players(draw(turn))
        for player in players:
            messages.append(protocol.send(player(message), generator))
            if not protocol.simultaneous:
                message = messages[-1]
        if protocol.simultaneous:
            message = reduce(torch.add, messages[-len(players) :]) / len(players)
    # The start and the first replies may lack batch dimensions that later agents bring.
    return Trajectory(torch.stack(torch.broadcast_tensors(*messages), dim=-2), targets)


def settle(
    agents: Sequence[Agent],
    start: Float[Tensor, "... d"],
    *,
    tolerance: float = 1e-13,
    turns: int = 1_000_000,
) -> list[Float[Tensor, "... d"]]:
    """Let agents reply to each other until no message moves any more, keeping only the
    last round.

    The exchange stops when over 100 rounds every message of the batch has moved by at
    most `tolerance` relative to its largest entry (or to 1, where that is larger).

    Args:
        agents: one or more, as in `interact`.
        start: the first message, shape (..., d).
        tolerance: the relative movement that counts as none.
        turns: the most rounds; they are played by hundreds.

    Returns:
        The last message of each agent, each of shape (..., d).

    Raises:
        ValueError: as `interact`, and a tolerance that is not a positive finite number.
        RuntimeError: messages that still move after the last round, or that are no
            longer finite.
    """
    message = _start(agents, start)
    tolerance = _checks.finite_number("tolerance", tolerance, above=0)
    checks = math.ceil(_checks.count("turns", turns) / ROUNDS_A_CHECK)
    for _ in range(checks):
        before = message
        for _ in range(ROUNDS_A_CHECK):
            last = []
            for agent in agents:
                message = agent(message)
                last.append(message)
        if not torch.isfinite(message).all():
            raise RuntimeError(
                "the exchange diverged: its messages are no longer finite"
            )
        # Squares, as in the Euclidean norm, could overflow.
        moved = (message - before).abs().amax(-1)
        if (moved <= tolerance * message.abs().amax(-1).clamp_min(1)).all():
            return last
    raise RuntimeError(
        f"the exchange still moves by {moved.max().item():.2g} after "
        f"{checks * ROUNDS_A_CHECK} turns"
    )


def _start(
    agents: Sequence[Agent], start: Float[Tensor, "... d"]
) -> Float[Tensor, "... d"]:
    if not agents:
        raise _checks.bad("agents", "empty", "at least one agent")
    first = agents[0].target
    start = _checks.last_dimension(
        "start", _checks.real_tensor("start", start, like=first), first.shape[-1]
    )
    for agent in agents[1:]:
        if agent.target.shape[-1] != first.shape[-1]:
            raise _checks.bad(
                "agents",
                f"of dimensions {first.shape[-1]} and {agent.target.shape[-1]}",
                "of one dimension",
            )
    batches = {f"agent {i}": batch_of(agent) for i, agent in enumerate(agents)}
    _checks.broadcast_shapes(start=start.shape[:-1], **batches)
    return start
