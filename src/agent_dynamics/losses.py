"""Objectives that are not quadratic, and agents that take their gradient steps.

An objective is the mean over a prompt's examples of a convex function of the score m_i
= x_i'v and the label:

* `LogisticLoss`, log(1 + e^m) - y m for labels y in [0, 1], probabilities;
* `HuberLoss`, r^2 / 2 for |r| <= delta and delta (|r| - delta / 2) beyond, with the
  residual r = m - y;
* `LogCoshLoss`, log cosh r.

With slopes phi'_i and curvatures phi''_i of the function at the scores, the gradient is
X' phi' / n and the Hessian X' diag(phi'') X / n (:eq:`eq-hessian`). All arrays are
batches: leading dimensions are free and broadcast.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import softplus

from . import _checks
from ._line_search import shortened
from .agents import GradientAgent
from .linear import apply, eye, solve
from .prompts import Prompt

NEWTON_STEPS = 200
# Curvature below this, relative to that of the squares, means that no minimiser is
# unique.
FLAT = 1e-10


class _Loss:
    """What all objectives share.

    Args:
        inputs: examples X, shape (..., n, d), one example a row.
        labels: labels y, shape (..., n).

    Raises:
        ValueError: shapes that do not match, or entries that are not finite.
    """

    def __init__(
        self, inputs: Float[Tensor, "*#batch n d"], labels: Float[Tensor, "*#batch n"]
    ) -> None:
        self.inputs = _checks.real_tensor("inputs", inputs)
        if self.inputs.ndim < 2 or 0 in self.inputs.shape[-2:]:
            raise _checks.bad(
                "inputs",
                f"of shape {tuple(self.inputs.shape)}",
                "of shape (..., n, d) with n and d at least 1",
            )
        labels = _checks.real_tensor("labels", labels, like=self.inputs)
        self.labels = _checks.last_dimension("labels", labels, self.inputs.shape[-2])
        self.batch = _checks.broadcast_shapes(
            inputs=self.inputs.shape[:-2], labels=self.labels.shape[:-1]
        )

    def loss(self, v: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
        """L(v) for messages v (..., d); shape (...)."""
        return self._value(self._scores(v)).mean(-1)

    def gradient(self, v: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """grad L(v) for messages v (..., d); shape (..., d)."""
        return (
            apply(self.inputs.mT, self._slope(self._scores(v))) / self.inputs.shape[-2]
        )

    def hessian(self, v: Float[Tensor, "... d"]) -> Float[Tensor, "... d d"]:
        """The Hessian of L at messages v (..., d); shape (..., d, d)."""
        weighted = self._curvature(self._scores(v)).unsqueeze(-1) * self.inputs
        return self.inputs.mT @ weighted / self.inputs.shape[-2]

    @cached_property
    def minimiser(self) -> Float[Tensor, "... d"]:
        """The point of least loss, shape (..., d), by Newton steps with a line search.

        Raises:
            ValueError: an objective without a unique minimiser of positive curvature,
                such as a logistic one whose labels a plane separates, or inputs that do
                not span all directions.
            RuntimeError: one that the steps did not reach.
        """
        n, d = self.inputs.shape[-2:]
        v = self.inputs.new_zeros(*self.batch, d)
        identity = eye(self.inputs)
        eps = torch.finfo(v.dtype).eps
        scale, least = (
            torch.linalg.matrix_norm(self.inputs, order) / math.sqrt(n)
            for order in (2, -2)
        )
        labels = vector_norm(self.labels, dim=-1) / math.sqrt(n)
        reached = False
        for _ in range(NEWTON_STEPS):
            gradient = self.gradient(v)
            size = vector_norm(gradient, dim=-1)
            rounding = 16 * eps * scale * (scale * vector_norm(v, dim=-1) + labels)
            reached = bool((size <= rounding).all())
            if reached:
                break
            # Damping by the gradient's size needs no curvature far away and vanishes at
            # the minimum. Times a scale of the inputs it has the unit of a curvature;
            # their least one slows no step down more than it must.
            curvature = (
                self.hessian(v)
                + (size * least + eps * scale.square())[..., None, None] * identity
            )
            step = -solve(curvature, gradient)
            # Close to the minimum the loss changes by less than its rounding, and the
            # gradient says how it goes.
            before = self.loss(v)
            halves = vector_norm(self.gradient(v + step), dim=-1) <= size / 2
            halves &= self.loss(v + step) <= before + 16 * eps * (1 + before)
            v = v + torch.where(
                halves.unsqueeze(-1), step, shortened(self.loss, v, gradient, step)
            )
        lowest = torch.linalg.eigvalsh(self.hessian(v))[..., 0] / scale.square()
        if not (lowest > FLAT).all():
            raise _checks.bad(
                "inputs and labels",
                "an objective that is flat (relative curvature "
                f"{lowest.min().item():.2g}) where it is least",
                "one with a unique minimiser",
            )
        if not reached:
            raise RuntimeError(
                f"no minimiser after {NEWTON_STEPS} Newton steps: the gradient is "
                f"{size.max().item():.2g}"
            )
        return v

    def local_prompt(self) -> Prompt:
        """The prompt whose objective is the second-order model of this one at its
        minimum.

        Its examples are x_i sqrt(phi''_i), so that its covariance is the Hessian there
        (:prf:ref:`thm-local`).
        """
        weights = self._curvature(self._scores(self.minimiser)).sqrt()
        return Prompt(weights.unsqueeze(-1) * self.inputs, self.minimiser)

    def _scores(self, v: Float[Tensor, "... d"]) -> Float[Tensor, "... n"]:
        like = self.inputs
        return apply(like, _checks.message("v", v, like=like, batch=self.batch))

    def _value(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        raise NotImplementedError

    def _slope(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        raise NotImplementedError

    def _curvature(
        self, scores: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch n"]:
        raise NotImplementedError


class LogisticLoss(_Loss):
    """Mean of log(1 + e^m) - y m. Labels y = 1 / (1 + e^{-X t}) make t the minimiser.

    Args:
        inputs: examples X, shape (..., n, d).
        labels: probabilities y in [0, 1], shape (..., n).

    Raises:
        ValueError: as all objectives, and labels outside [0, 1].
    """

    def __init__(
        self, inputs: Float[Tensor, "*#batch n d"], labels: Float[Tensor, "*#batch n"]
    ) -> None:
        super().__init__(inputs, labels)
        if (self.labels < 0).any() or (self.labels > 1).any():
            raise _checks.bad(
                "labels",
                f"from {self.labels.min().item():g} to {self.labels.max().item():g}",
                "between 0 and 1",
            )

    def _value(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return softplus(scores) - self.labels * scores

    def _slope(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return scores.sigmoid() - self.labels

    def _curvature(
        self, scores: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch n"]:
        return scores.sigmoid() * (-scores).sigmoid()


class HuberLoss(_Loss):
    """Mean of r^2 / 2 where |r| <= delta, and of delta (|r| - delta / 2) beyond.

    Args:
        inputs: examples X, shape (..., n, d).
        labels: labels y, shape (..., n).
        delta: the residual where the loss turns from a square to a line, positive.

    Raises:
        ValueError: as all objectives, and a delta that is not a positive finite number.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "*#batch n d"],
        labels: Float[Tensor, "*#batch n"],
        delta: float = 1.0,
    ) -> None:
        super().__init__(inputs, labels)
        self.delta = _checks.finite_number("delta", delta, above=0)

    def _value(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        size = (scores - self.labels).abs()
        return torch.where(
            size <= self.delta, size.square() / 2, self.delta * (size - self.delta / 2)
        )

    def _slope(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return (scores - self.labels).clamp(-self.delta, self.delta)

    def _curvature(
        self, scores: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch n"]:
        return ((scores - self.labels).abs() <= self.delta).to(scores.dtype)


class LogCoshLoss(_Loss):
    """Mean of log cosh r: a square near zero, a line far away, smooth between.

    Args:
        inputs: examples X, shape (..., n, d).
        labels: labels y, shape (..., n).

    Raises:
        ValueError: as all objectives.
    """

    def _value(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        size = (scores - self.labels).abs()
        return size + torch.log1p(torch.exp(-2 * size)) - math.log(2)

    def _slope(self, scores: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        return (scores - self.labels).tanh()

    def _curvature(
        self, scores: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch n"]:
        return (scores - self.labels).cosh().pow(-2)


class ObjectiveAgent:
    """An agent whose turn is one gradient step v - eta grad L(v) on an objective of
    this module.

    Args:
        objective: the agent's own objective.
        step_size: eta, positive; a float, or a tensor of the objective's leading shape.

    Raises:
        ValueError: a step size that is not positive and finite or does not fit the
            objective's batch.
    """

    def __init__(
        self, objective: _Loss, step_size: float | Float[Tensor, "..."]
    ) -> None:
        self.objective = objective
        self.step_size = _checks.positive("step_size", step_size, like=objective.inputs)
        self.batch = _checks.broadcast_shapes(
            objective=objective.batch, step_size=self.step_size.shape
        )

    @property
    def target(self) -> Float[Tensor, "... d"]:
        """The objective's minimiser, shape (..., d)."""
        return self.objective.minimiser

    def __call__(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """The message after one gradient step, shape (..., d)."""
        message = _checks.message(
            "message", message, like=self.objective.inputs, batch=self.batch
        )
        return message - self.step_size.unsqueeze(-1) * self.objective.gradient(message)

    def linearised(self) -> GradientAgent:
        """The affine agent that agrees with this one to first order at its target."""
        return GradientAgent(self.objective.local_prompt(), self.step_size)
