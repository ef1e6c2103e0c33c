"""What all objectives of `losses` share: derivatives, and where they are least."""

from __future__ import annotations

import copy
import math
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from . import _checks
from ._line_search import shortened
from .linear import apply, eye, solve
from .prompts import Prompt

NEWTON_STEPS = 200
# Curvature below this, relative to that of the squares, means that no minimiser is
# unique.
FLAT = 1e-10

Scores = Float[Tensor, "*batch n"]
SomeScores = Float[Tensor, "*#batch n"]  # that broadcast with others


class Objective:
    """The mean over a prompt's examples of a convex function of the score.

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
        return self._weighted(self._curvature(self._scores(v)))

    def bounding_hessian(self, v: Float[Tensor, "... d"]) -> Float[Tensor, "... d d"]:
        """The Hessian of a parabola that touches L at v and is nowhere below it.

        Its curvatures are averages of phi'' from the score to its mirror image at the
        point about which phi'' is symmetric; shape (..., d, d).
        """
        scores = self._scores(v)
        return self._weighted(self._mean_curvature(scores, self._mirrored(scores)))

    @cached_property
    def minimiser(self) -> Float[Tensor, "... d"]:
        """The point of least loss, shape (..., d), by Newton steps with a line search.

        Raises:
            ValueError: an objective without a unique minimiser of positive curvature,
                such as a logistic one whose labels a plane separates, or inputs that do
                not span all directions.
            RuntimeError: one that the steps did not reach.
        """
        return _newton(self)

    def local_prompt(self) -> Prompt:
        """The prompt whose objective is the second-order model of this one at its
        minimum.

        Its examples are x_i sqrt(phi''_i), so that its covariance is the Hessian there
        (:prf:ref:`thm-local`).
        """
        weights = self._curvature(self._scores(self.minimiser)).sqrt()
        return Prompt(weights.unsqueeze(-1) * self.inputs, self.minimiser)

    def _scores(self, v: Float[Tensor, "... d"], name: str = "v") -> Scores:
        like = self.inputs
        return apply(like, _checks.message(name, v, like=like, batch=self.batch))

    def _weighted(self, weights: Scores) -> Float[Tensor, "*batch d d"]:
        inputs = self.inputs
        return inputs.mT @ (weights.unsqueeze(-1) * inputs) / inputs.shape[-2]

    def _mirrored(self, scores: Scores) -> Scores:
        return -scores

    def _value(self, scores: Scores) -> Scores:
        raise NotImplementedError

    def _slope(self, scores: Scores) -> Scores:
        raise NotImplementedError

    def _curvature(self, scores: Scores) -> Scores:
        raise NotImplementedError

    def _mean_curvature(self, start: SomeScores, end: SomeScores) -> Scores:
        """The average of the curvature between two scores."""
        raise NotImplementedError


class ResidualObjective(Objective):
    """An objective of the residuals r = m - y, even in each."""

    @cached_property
    def minimiser(self) -> Float[Tensor, "... d"]:
        """As for all objectives, sought from the least squares of the labels.

        So a minimiser that is far away is found as one that is near.
        """
        centre = apply(torch.linalg.pinv(self.inputs), self.labels)
        moved = copy.copy(self)
        moved.labels = self.labels - apply(self.inputs, centre)
        return centre + _newton(moved)

    def _mirrored(self, scores: Scores) -> Scores:
        return 2 * self.labels - scores


def _newton(objective: Objective) -> Float[Tensor, "... d"]:
    """The point of least loss, shape (..., d).

    The Hessian of a parabola that touches the loss at v and lies above it gives steps
    that never overshoot, however flat the loss is at v. It is mixed into the loss's own
    Hessian by the gradient's size, so that near the minimum the steps are Newton's.

    Raises as `Objective.minimiser`.
    """
    inputs, loss, gradient_at = objective.inputs, objective.loss, objective.gradient
    n, d = inputs.shape[-2:]
    v = inputs.new_zeros(*objective.batch, d)
    eps = torch.finfo(v.dtype).eps
    scale = matrix_norm(inputs, 2) / math.sqrt(n)
    least = eps * scale.square()[..., None, None] * eye(inputs)
    labels = vector_norm(objective.labels, dim=-1) / math.sqrt(n)
    for _ in range(NEWTON_STEPS):
        gradient = gradient_at(v)
        size = vector_norm(gradient, dim=-1)
        rounding = 16 * eps * scale * (scale * vector_norm(v, dim=-1) + labels)
        if (size <= rounding).all():
            break
        own, above = objective.hessian(v), objective.bounding_hessian(v)
        share = (size / scale).clamp_max(1)[..., None, None]
        step = -solve(own + share * (above - own) + least, gradient)
        # Close to the minimum the loss changes by less than its rounding, and the
        # gradient says how it goes.
        before = loss(v)
        halves = vector_norm(gradient_at(v + step), dim=-1) <= size / 2
        halves &= loss(v + step) <= before + 16 * eps * (1 + before)
        v = v + torch.where(
            halves.unsqueeze(-1), step, shortened(loss, v, gradient, step)
        )
    else:
        raise RuntimeError(
            f"no minimiser after {NEWTON_STEPS} Newton steps: the gradient is "
            f"{size.max().item():.2g}"
        )
    lowest = torch.linalg.eigvalsh(objective.hessian(v))[..., 0] / scale.square()
    if not (lowest > FLAT).all():
        raise _checks.bad(
            "inputs and labels",
            "an objective that is flat (relative curvature "
            f"{lowest.min().item():.2g}) where it is least",
            "one with a unique minimiser",
        )
    return v
