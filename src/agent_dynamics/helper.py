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
from ._planning import PlanningHelper, can_arrive
from ._steering import Helper
from .agents import AffineAgent, GradientAgent
from .linear import apply, eye, negligible
from .lsa import LSAAgent
from .prompts import Prompt

__all__ = [
    "AndersonHelper",
    "DampedNewtonHelper",
    "LineSearchedNewtonHelper",
    "NewtonHelper",
    "PlanningHelper",
    "can_arrive",
    "safe_damping",
]


class NewtonHelper(Helper):
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


def safe_damping(
    agent_w: GradientAgent | LSAAgent, estimate: Float[Tensor, "*#batch d d"]
) -> Float[Tensor, "*batch"]:
    """The least damping with which a wrong estimate is known to do no harm.

    It is the least lambda >= 0 with estimate + lambda I >= S_W / 2. From there on a
    turn of the main agent and a damped Newton helper shrinks the error in the long run
    at least as much as one of the main agent alone (:prf:ref:`lem-safe-damping`). Less
    may do for some estimates.

    Args:
        agent_w: the main agent, with a stable step.
        estimate: the helper's estimate of S_W, symmetric, shape (..., d, d).

    Returns:
        Shape (...): that of the agent and the estimates together.

    Raises:
        ValueError: an estimate that is not symmetric or of another dimension; an
            unstable main agent, which the lemma says nothing of.
    """
    geometry = agent_w.prompt.covariance
    estimate = _checks.symmetric("estimate", estimate)
    _checks.last_dimension("estimate", estimate, geometry.shape[-1])
    _checks.broadcast_shapes(agent_w=agent_w.batch, estimate=estimate.shape[:-2])
    turn, _ = agent_w.affine()
    grows = torch.linalg.matrix_norm(turn, ord=2).max().item()
    if grows > 1 + negligible(turn):
        raise _checks.bad(
            "agent_w", f"unstable, with a turn of norm {grows:.3g}", "stable"
        )
    short = torch.linalg.eigvalsh(geometry / 2 - estimate)[..., -1]
    return short.clamp_min(0)


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


class AndersonHelper(Helper):
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
        regularisation: the length of the noise that each answer carries. Where it is
            given, the combination is the one whose residual has the least mean square
            under such noise (:eq:`eq-regularised`).

    Raises:
        ValueError: inputs that make no prompt; a regularisation that is negative or not
            finite.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "... n d"],
        actor: Callable[[Prompt], AffineAgent],
        *,
        regularisation: float = 0.0,
    ) -> None:
        super().__init__(inputs, actor)
        self._noise = _checks.finite_number("regularisation", regularisation)
        if self._noise < 0:
            raise _checks.bad("regularisation", regularisation, "at least 0")
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
        answers, residuals = (
            torch.stack(column, dim=-1) for column in (self._answers, self._residuals)
        )
        # The noise of each residual is its own, so it stands in a row of its own.
        noise = self._noise * eye(residuals)
        noise = noise.expand(*residuals.shape[:-2], *noise.shape)
        residuals = torch.cat([residuals, noise], dim=-2)
        # Differences of successive turns span the affine combinations, and lose the
        # least to rounding.
        steps = torch.linalg.pinv(residuals.diff(dim=-1))
        return message - apply(answers.diff(dim=-1), apply(steps, residuals[..., -1]))
