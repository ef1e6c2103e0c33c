"""Objectives that are not quadratic, and agents that take their gradient steps.

An objective is the mean over a prompt's examples of a convex function of the score m_i
= x_i'v and the label:

* `LogisticLoss`, log(1 + e^m) - y m for labels y in [0, 1], probabilities;
* `HuberLoss`, r^2 / 2 for |r| <= delta and delta (|r| - delta / 2) beyond, with the
  residual r = m - y;
* `LogCoshLoss`, log cosh r.

With slopes phi'_i and curvatures phi''_i of the function at the scores, the gradient is
X' phi' / n and the Hessian X' diag(phi'') X / n (:eq:`eq-hessian`). Along a segment the
scores move in a straight line, so the Hessian's average has the weights
(phi'(end) - phi'(start)) / (end - start). All arrays are batches: leading dimensions
are free and broadcast.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from . import _checks
from .agents import GradientAgent
from .objective import Objective, ResidualObjective, Scores, SomeScores


class LogisticLoss(Objective):
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

    def _value(self, scores: Scores) -> Scores:
        return softplus(scores) - self.labels * scores

    def _slope(self, scores: Scores) -> Scores:
        return scores.sigmoid() - self.labels

    def _curvature(self, scores: Scores) -> Scores:
        return scores.sigmoid() * (-scores).sigmoid()

    def _mean_curvature(self, start: SomeScores, end: SomeScores) -> Scores:
        return _mean_of_one_minus_tanh_squared(start / 2, end / 2) / 4


class HuberLoss(ResidualObjective):
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

    def _value(self, scores: Scores) -> Scores:
        size = (scores - self.labels).abs()
        return torch.where(
            size <= self.delta, size.square() / 2, self.delta * (size - self.delta / 2)
        )

    def _slope(self, scores: Scores) -> Scores:
        return (scores - self.labels).clamp(-self.delta, self.delta)

    def _curvature(self, scores: Scores) -> Scores:
        return ((scores - self.labels).abs() <= self.delta).to(scores.dtype)

    def _mean_curvature(self, start: SomeScores, end: SomeScores) -> Scores:
        share = (self._slope(end) - self._slope(start)) / (end - start)
        return torch.where(start == end, self._curvature(start), share)


class LogCoshLoss(ResidualObjective):
    """Mean of log cosh r: a square near zero, a line far away, smooth between.

    Args:
        inputs: examples X, shape (..., n, d).
        labels: labels y, shape (..., n).

    Raises:
        ValueError: as all objectives.
    """

    def _value(self, scores: Scores) -> Scores:
        size = (scores - self.labels).abs()
        return size + torch.log1p(torch.exp(-2 * size)) - math.log(2)

    def _slope(self, scores: Scores) -> Scores:
        return (scores - self.labels).tanh()

    def _curvature(self, scores: Scores) -> Scores:
        return (scores - self.labels).cosh().pow(-2)

    def _mean_curvature(self, start: SomeScores, end: SomeScores) -> Scores:
        return _mean_of_one_minus_tanh_squared(start - self.labels, end - self.labels)


def _mean_of_one_minus_tanh_squared(start: SomeScores, end: SomeScores) -> Scores:
    """(tanh end - tanh start) / (end - start) without the cancellation, by tanh's
    addition theorem.
    """
    way = end - start
    ratio = torch.where(way == 0, 1.0, way.tanh() / way)
    return ratio * (1 - start.tanh() * end.tanh())


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
        self, objective: Objective, step_size: float | Float[Tensor, "..."]
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


def segment_hessian(
    objective: Objective, start: Float[Tensor, "... d"], end: Float[Tensor, "... d"]
) -> Float[Tensor, "... d d"]:
    """The Hessian averaged along a segment, the integral of H(start + s (end - start)).

    Times end - start it is the gradient's difference, exactly. With the averages from
    each target to the message that is answered, the formulas of the equilibrium are
    exact (:prf:ref:`thm-segment`).

    Args:
        objective: an objective of this module.
        start: where the segment begins, shape (..., d).
        end: where it ends, shape (..., d); where it began gives the Hessian there.

    Returns:
        The average, shape (..., d, d), in closed form and so to rounding.

    Raises:
        ValueError: points that do not fit the objective.
    """
    return objective._weighted(
        objective._mean_curvature(
            objective._scores(start, "start"), objective._scores(end, "end")
        )
    )
