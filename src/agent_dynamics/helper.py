"""Helpers: agents that speed up the main agent by the target that they choose.

A helper acts only through its own gradient step or LSA pass. Its reply to w is
w + R (u* - w), with R = eta_U S_U for one gradient step, so to send a wanted message p
it sets the target u* = w + R^+ (p - w) of this turn (:eq:`eq-steer`). With a singular
S_U only the part of p - w in the range of S_U is sent: that subspace is the helper's
reach (:prf:ref:`thm-reach`).

A helper keeps state from turn to turn: make a new one for each exchange.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from ._line_search import shortened
from .agents import AffineAgent
from .linear import apply, eye, negligible, rounding
from .prompts import Prompt


class _Helper:
    """What all helpers share: sending a wanted message by the choice of a target.

    Attributes:
        target: the target of the last turn, shape (..., d); zero before the first.
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
        self._steer = torch.linalg.pinv(
            self._identity - linear, rtol=negligible(linear), atol=rounding(linear)
        )

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The reply to the main agent's message, both of shape (..., d)."""
        message = _checks.message(
            "message", message, like=self._inputs, batch=self.batch
        )
        self.target = message + apply(self._steer, self._wanted(message) - message)
        return self._actor(Prompt(self._inputs, self.target))(message)

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        raise NotImplementedError


class NewtonHelper(_Helper):
    """A helper that sends a Newton step on the main agent's objective.

    It sends p = w - H(w)^+ grad L(w). With the true Hessian S_W and full reach that is
    w* in its first turn (:prf:ref:`thm-newton-helper`); with c S_W the error is
    multiplied by (1 - 1/c) A a turn (:prf:ref:`prop-wrong-factor`).

    Args:
        inputs: the helper's own examples X_U, shape (..., n, d).
        actor: makes the helper's agent of a prompt, e.g. `lambda prompt:
            GradientAgent(prompt, 0.5)`.
        gradient: the main agent's gradient at w, e.g. `prompt_w.gradient`; (..., d) to
            (..., d).
        hessian: the helper's estimate of the main agent's Hessian at w, symmetric;
            (..., d) to (..., d, d).

    Raises:
        ValueError: inputs that make no prompt.
    """

    damping = 0.0

    def __init__(
        self,
        inputs: Float[Tensor, "... n d"],
        actor: Callable[[Prompt], AffineAgent],
        gradient: Callable[[Tensor], Tensor],
        hessian: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(inputs, actor)
        self._gradient = gradient
        self._hessian = hessian

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        curvature = self._hessian(message) + self.damping * self._identity
        inverse = torch.linalg.pinv(
            curvature, rtol=negligible(curvature), hermitian=True
        )
        return message - apply(inverse, self._gradient(message))


class DampedNewtonHelper(NewtonHelper):
    """A Newton helper with H + damping I in place of H.

    With the true Hessian a turn multiplies the error by
    (1 - eta_W s) damping / (s + damping) for each eigenvalue s of S_W
    (:eq:`eq-damped`).

    Args:
        inputs, actor, gradient, hessian: as for NewtonHelper.
        damping: lambda, positive.

    Raises:
        ValueError: as NewtonHelper, and a damping that is not a positive finite number.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "... n d"],
        actor: Callable[[Prompt], AffineAgent],
        gradient: Callable[[Tensor], Tensor],
        hessian: Callable[[Tensor], Tensor],
        *,
        damping: float,
    ) -> None:
        super().__init__(inputs, actor, gradient, hessian)
        self.damping = _checks.finite_number("damping", damping, above=0)


class LineSearchedNewtonHelper(NewtonHelper):
    """A Newton helper that halves its step until it lowers the main agent's loss.

    On a strictly convex objective it converges from every start
    (:prf:ref:`thm-line-search`). Near the minimum the whole step is taken.

    Args:
        inputs, actor, gradient, hessian: as for NewtonHelper.
        loss: the main agent's loss at w, e.g. `objective.loss`; (..., d) to (...).

    Raises:
        ValueError: as NewtonHelper.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "... n d"],
        actor: Callable[[Prompt], AffineAgent],
        gradient: Callable[[Tensor], Tensor],
        hessian: Callable[[Tensor], Tensor],
        *,
        loss: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(inputs, actor, gradient, hessian)
        self._loss = loss

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        step = super()._wanted(message) - message
        return message + shortened(self._loss, message, self._gradient(message), step)


class AndersonHelper(_Helper):
    """A helper that knows messages alone, and accelerates the main agent's map.

    Each message u it sent and the answer w to it give a residual w - u of that map. It
    sends the affine combination of all answers so far whose combined residual is least:
    Anderson acceleration, type II, with full memory. While it has fewer than two
    residuals it echoes. In exact arithmetic its message of turn d + 2 is w*, whatever
    the conditioning (:prf:ref:`thm-anderson-helper`).

    Args:
        inputs: the helper's own examples X_U, shape (..., n, d).
        actor: makes the helper's agent of a prompt, e.g. `lambda prompt:
            GradientAgent(prompt, 0.5)`.

    Raises:
        ValueError: inputs that make no prompt.
    """

    def __init__(
        self, inputs: Float[Tensor, "... n d"], actor: Callable[[Prompt], AffineAgent]
    ) -> None:
        super().__init__(inputs, actor)
        self._sent: Tensor | None = None
        self._answers: list[Tensor] = []
        self._residuals: list[Tensor] = []

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The reply to the main agent's message, both of shape (..., d)."""
        if self._sent is not None:
            self._answers.append(message)
            self._residuals.append(message - self._sent)
        self._sent = super().__call__(message)
        return self._sent

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        if len(self._residuals) < 2:
            return message
        # Differences of successive turns span the affine combinations, and lose the
        # least to rounding.
        answers, residuals = (
            torch.stack(column, dim=-1).diff(dim=-1)
            for column in (self._answers, self._residuals)
        )
        return message - apply(
            answers, apply(torch.linalg.pinv(residuals), self._residuals[-1])
        )
