"""What all helpers share: sending a wanted message by the choice of a target."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from .agents import AffineAgent
from .linear import apply, eye, negligible, rounding
from .prompts import Prompt


class Helper:
    """An agent that chooses its target each turn, so that it sends what it wants.

    Attributes:
        target: the target of the last turn, shape (..., d); zero before the first.
        reach: the projector on the directions that its target can move, shape (..., d,
            d) (:prf:ref:`thm-reach`).
    """

    def __init__(
        self, inputs: Float[Tensor, "... n d"], actor: Callable[[Prompt], AffineAgent]
    ) -> None:
        self._inputs = _checks.real_tensor("inputs", inputs)
        self.batch = self._inputs.shape[:-2]
        self._actor = actor
        self.target = self._inputs.new_zeros(self._inputs.shape[-1:])
        linear, _ = actor(Prompt(self._inputs, self.target)).affine()
        self._identity = eye(linear)
        pull = self._identity - linear
        self._steer = torch.linalg.pinv(
            pull, rtol=negligible(linear), atol=rounding(linear)
        )
        self.reach = pull @ self._steer

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The reply to the main agent's message, both of shape (..., d)."""
        message = _checks.message(
            "message", message, like=self._inputs, batch=self.batch
        )
        self.target = message + apply(self._steer, self._wanted(message) - message)
        return self._actor(Prompt(self._inputs, self.target))(message)

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        raise NotImplementedError
