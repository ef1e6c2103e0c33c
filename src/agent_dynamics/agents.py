"""Agents: callables that take a message and return an improved one.

A message is a weight vector of shape (..., d). The agents of this book are affine: each
says its map by `.affine()`, the pair (A, b) with agent(v) = A v + b.
"""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from .linear import apply, eye
from .prompts import Prompt


@runtime_checkable
class Agent(Protocol):
    """What an exchange needs of an agent."""

    @property
    def target(self) -> Float[Tensor, "... d"]:
        """The agent's own target, shape (..., d)."""

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The reply to a message, both of shape (..., d)."""


@runtime_checkable
class AffineAgent(Agent, Protocol):
    """What the closed forms need of an agent."""

    def affine(self) -> tuple[Float[Tensor, "... d d"], Float[Tensor, "... d"]]:
        """(A, b) of shapes (..., d, d) and (..., d), with agent(v) = A v + b."""


def batch_of(agent: Agent) -> torch.Size:
    """The leading shape of an agent's replies to one message, as far as it says it.

    The agents of this package say it by `.batch`; of others it is their target's.
    """
    return getattr(agent, "batch", agent.target.shape[:-1])


class GradientAgent:
    """An agent that takes exact gradient steps on its prompt's objective.

    One step is T(v) = v - eta S (v - t) (:eq:`eq-turn`). `steps` of them make one turn,
    so A = (I - eta S)^steps and b = (I - A) t (:prf:ref:`thm-inner-steps`).

    Args:
        prompt: the agent's own prompt.
        step_size: eta, positive; a float, or a tensor of the prompt's leading shape.
        steps: inner steps per turn, at least 1.

    Raises:
        ValueError: a step size that is not positive and finite or does not fit the
            prompt's batch; fewer than one step.
    """

    def __init__(
        self, prompt: Prompt, step_size: float | Float[Tensor, "..."], steps: int = 1
    ) -> None:
        self.prompt = prompt
        self.step_size = _checks.positive("step_size", step_size, like=prompt.inputs)
        self.steps = _checks.count("steps", steps)
        self.batch = _checks.broadcast_shapes(
            prompt=prompt.batch, step_size=self.step_size.shape
        )

    @property
    def target(self) -> Float[Tensor, "... d"]:
        """The prompt's target, shape (..., d)."""
        return self.prompt.target

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The message after the inner steps, shape (..., d)."""
        message = _checks.message(
            "message", message, like=self.target, batch=self.batch
        )
        for _ in range(self.steps):
            message = message - self.step_size.unsqueeze(-1) * self.prompt.gradient(
                message
            )
        return message

    def __getitem__(self, part: slice) -> GradientAgent:
        """The agents of a part of the batch, counted along its first dimension:
        agent[0:1000].
        """
        prompt, step_size, batch = self.prompt, self.step_size, self.batch
        inputs = prompt.inputs.expand(*batch, *prompt.inputs.shape[-2:])
        target = prompt.target.expand(*batch, prompt.dimension)
        return GradientAgent(
            Prompt(inputs[part], target[part]),
            step_size.expand(batch)[part],
            self.steps,
        )

    def affine(self) -> tuple[Float[Tensor, "... d d"], Float[Tensor, "... d"]]:
        """(A, b) with agent(v) = A v + b; shapes (..., d, d) and (..., d)."""
        s = self.prompt.covariance
        identity = eye(s)
        a = torch.linalg.matrix_power(
            identity - self.step_size[..., None, None] * s, self.steps
        )
        b = apply(identity - a, self.target)
        return a, b


class Repeated:
    """An agent that takes several inner steps a turn, so A^steps takes the place of A.

    The closed forms hold with it as they stand (:prf:ref:`thm-inner-steps`).

    Args:
        agent: any affine agent, an LSA one included.
        steps: inner steps per turn, at least 1.

    Raises:
        ValueError: fewer than one step.
    """

    def __init__(self, agent: Agent, steps: int) -> None:
        self.agent = agent
        self.steps = _checks.count("steps", steps)

    @property
    def batch(self) -> torch.Size:
        """The agent's leading shape."""
        return batch_of(self.agent)

    @property
    def target(self) -> Float[Tensor, "... d"]:
        """The agent's target, shape (..., d)."""
        return self.agent.target

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The message after the inner steps, shape (..., d)."""
        for _ in range(self.steps):
            message = self.agent(message)
        return message

    def affine(self) -> tuple[Float[Tensor, "... d d"], Float[Tensor, "... d"]]:
        """(A, b) with agent(v) = A v + b; shapes (..., d, d) and (..., d)."""
        a, b = cast(AffineAgent, self.agent).affine()
        return torch.linalg.matrix_power(a, self.steps), self(torch.zeros_like(b))
