"""What a pair of agents is doing, read off its messages alone.

With limits w and u of the two agents' messages, everything is in the persistent
disagreement g = u - w (:eq:`eq-persistent-move`). Each agent's reply to its own limit
would move it on by A g (agent W, up to sign) and by B g (agent U), so
(:prf:ref:`thm-signatures`)

    g = 0: aligned;
    A g = 0: W sits at its own target;  B g = 0: U does;
    both: two-sided, each agent ends where its own objective is least;
    neither: misaligned.

Whenever g is not 0 the messages end alternating between two points; whether they do
tells nothing of the kind.

The agents take gradient steps, so A is symmetric and A g is seen without knowing A: the
part of W's messages along g changes with the message u before it
(:prf:ref:`prop-along`) as

    g'(w_{t+1} - w) = (A g)'(u_t - u).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Inexact, Int
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from . import _checks
from .interaction import Trajectory
from .linear import apply, eye

LABELS = (
    "undetermined",
    "aligned",
    "misaligned",
    "one-sided w",
    "one-sided u",
    "two-sided",
    "unstable",
)
# Relative error of a noise-free message: rounding, and what is left of a layer's
# training.
PRECISION = 1e-14
# An agent that moves a message by less than this share of its distance is blind in that
# direction.
BLIND = 1e-7
# A Gaussian vector of k parts is longer than sqrt(k) + 3 deviations once in 100 draws.
DEVIATIONS = 3.0
# What counts as zero must be told apart from this share of what it is compared with.
RESOLUTION = 0.05


@dataclass(frozen=True, eq=False)
class FittedMap:
    """An agent's map v -> matrix v + offset, as far as the messages that it was sent
    determine it.

    Attributes:
        matrix: shape (..., d, d); zero on the directions in which the messages sent to
            the agent did not vary.
        offset: shape (..., d).
        rank: number of directions in which they varied by more than noise, shape (...).
            At rank d the map is determined.
        target: fixed point of the map, of least norm where the agent is blind to some
            direction; NaN at a rank below d, or where it may be off by more than a
            twentieth of its length. Shape (..., d).
    """

    matrix: Float[Tensor, "*batch d d"]
    offset: Float[Tensor, "*batch d"]
    rank: Int[Tensor, "*batch"]
    target: Float[Tensor, "*batch d"]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the messages of two agents W and U tell of them.

    Attributes:
        label: one of `LABELS` a pair, an array of shape (...); a string for one pair.
        w, u: limits of W's and of U's messages, shape (..., d); of no meaning where the
            pair is unstable.
        rate: spectral radius of A B on the directions that the messages explore, shape
            (...).
        map_w, map_u: the agents' maps.
        noise: standard deviation of the noise in each entry of a message, given or
            estimated, shape (...).
    """

    label: np.ndarray | np.str_
    w: Float[Tensor, "*batch d"]
    u: Float[Tensor, "*batch d"]
    rate: Float[Tensor, "*batch"]
    map_w: FittedMap
    map_u: FittedMap
    noise: Float[Tensor, "*batch"]


def diagnose(trajectory: Trajectory, noise: float | None = None) -> Diagnosis:
    """Tell what a pair of agents does from `trajectory.messages` and nothing else.

    The noise may be added when the messages are observed, or be received by the agents
    and passed on. What the messages do not decide is "undetermined". Three things they
    never decide, as the same messages come from both (:prf:ref:`thm-same-messages`): a
    winner against a loser that is blind to the gap looks aligned, and so do different
    targets that one message satisfies; a winner along an eigenvector of the loser's
    geometry looks two-sided. Of an agent's steps only eta S shows, and several in a
    turn look like one (:prf:ref:`prop-scale`). With d rounds or fewer the messages have
    not explored all directions (:prf:ref:`thm-explored`), and a few labels are wrong
    even without noise.

    Args:
        trajectory: of two agents that take gradient steps, messages of shape (..., 2
            rounds + 1, d).
        noise: standard deviation of the noise in each entry of a message. Estimated
            from what the fitted maps leave unexplained when not given; with fewer than
            d + 2 rounds nothing is left, and all that varies may be noise.

    Raises:
        ValueError: a trajectory of other than two agents, messages that are not finite,
            noise that is negative or not finite.
    """
    if len(trajectory.targets) != 2:
        raise _checks.bad(
            "trajectory", f"of {len(trajectory.targets)} agents", "of two agents"
        )
    messages = _checks.real_tensor("trajectory.messages", trajectory.messages)
    u, w = messages[..., 0::2, :], messages[..., 1::2, :]
    rounds, d = w.shape[-2:]
    fits = _Fit(u[..., :-1, :], w), _Fit(w, u[..., 1:, :])
    rounding = max(
        PRECISION, 45 * torch.finfo(messages.dtype).eps
    ) * messages.abs().amax((-2, -1))
    if noise is not None:
        if _checks.finite_number("noise", noise) < 0:
            raise _checks.bad("noise", noise, "at least 0")
        sigma = noise + rounding
    elif rounds > d + 1:
        left = fits[0].unexplained() + fits[1].unexplained()
        sigma = (left / (2 * d * (rounds - d - 1))).sqrt() + rounding
    else:
        sigma = messages.std((-2, -1)) + rounding
    fit_w, fit_u = (fit.keep(sigma) for fit in fits)
    A, B = fit_w.matrix, fit_u.matrix

    # Where the last half of the messages is, and by how much the drift still in it
    # carries on.
    identity = eye(A)
    eigenvalues, directions = torch.linalg.eig(A @ B)
    rate, slowest = eigenvalues.abs().max(-1)
    x = directions.gather(
        -1, slowest[..., None, None].expand(*slowest.shape, d, 1)
    ).squeeze(-1)
    rate_error = fit_u.error(x) + fit_w.error(apply(B.to(x.dtype), x))
    carried = torch.linalg.pinv(identity - A @ B)
    drift = fit_u.mean_out - fit_w.mean_in
    ahead = apply(carried @ A, drift)
    limit_w = fit_w.mean_out + ahead
    limit_u = fit_u.mean_out + apply(B, ahead)
    move = limit_u - limit_w
    size = vector_norm(move, dim=-1)

    # Errors of the means, and of the maps where they carry the drift on.
    share = matrix_norm((identity - B) @ carried, 2)
    means = sigma * (d**0.5 + DEVIATIONS) * (2 / fit_w.tail) ** 0.5
    error_u = fit_u.error(ahead)
    move_error = (1 + share) * (means + error_u) + share * fit_w.error(
        drift + apply(B, ahead)
    )
    settled = torch.maximum(fit_w.wander, fit_u.wander) <= sigma * (
        (fit_w.tail * d) ** 0.5 + DEVIATIONS
    )
    stable = settled | (rate + rate_error < 1)
    scale = torch.maximum(
        vector_norm(messages[..., 0, :] - limit_w, dim=-1), vector_norm(limit_w, dim=-1)
    )
    moves = stable & (size > move_error)
    along = move / size.clamp_min(torch.finfo(size.dtype).tiny).unsqueeze(-1)
    slip = move_error / size.clamp_min(torch.finfo(size.dtype).tiny)
    (leaves_w, stays_w), (leaves_u, stays_u) = (
        fit.along(along, slip) for fit in (fit_w, fit_u)
    )

    label = torch.zeros_like(size, dtype=torch.int64)
    cases = (
        stable & (size <= move_error) & (move_error <= RESOLUTION * scale),
        moves & leaves_w & leaves_u,
        moves & stays_w & leaves_u,
        moves & leaves_w & stays_u,
        moves & stays_w & stays_u,
        ~settled & (rate - rate_error > 1),
    )
    for index, case in enumerate(cases, start=1):
        label[case] = index
    named = np.array(LABELS)[label.cpu().numpy()]
    return Diagnosis(named, limit_w, limit_u, rate, fit_w.map(), fit_u.map(), sigma)


class _Fit:
    """Least squares of an agent's replies (..., rounds, d) on the messages before them.

    Both are taken from their means over the last half of the rounds, which the map
    carries into each other. So the fit is exact without noise, and with noise the limit
    does not suffer from the fit's errors.
    """

    def __init__(
        self,
        sent: Float[Tensor, "*batch rounds d"],
        replies: Float[Tensor, "*batch rounds d"],
    ) -> None:
        rounds = sent.shape[-2]
        self.tail = rounds - rounds // 2
        self.mean_in, self.mean_out = (
            sent[..., -self.tail :, :].mean(-2),
            replies[..., -self.tail :, :].mean(-2),
        )
        self.replies = replies - self.mean_out.unsqueeze(-2)
        # How far the last half of the replies strays from its mean.
        self.wander = matrix_norm(self.replies[..., -self.tail :, :])
        centred = sent - self.mean_in.unsqueeze(-2)
        self.left, self.values, self.right = torch.linalg.svd(
            centred, full_matrices=False
        )

    def unexplained(self) -> Float[Tensor, "..."]:
        """Sum of squares of the replies off the span of the messages before them, shape
        (...).
        """
        explained = self.left @ (self.left.mT @ self.replies)
        return (self.replies - explained).square().sum((-2, -1))

    def keep(self, sigma: Float[Tensor, "..."]) -> _Fit:
        """Fit on the directions that vary at least twice as much as noise would."""
        rounds, d = self.replies.shape[-2:]
        self.sigma = sigma
        self.kept = self.values > 2 * (sigma * (rounds**0.5 + d**0.5)).unsqueeze(-1)
        self.rank = self.kept.sum(-1)
        self.inverse = torch.where(self.kept, 1 / self.values, 0.0)
        # (..., k, d).
        self.answers = self.kept.unsqueeze(-1) * (self.left.mT @ self.replies)
        self.matrix = (self.right.mT @ (self.inverse.unsqueeze(-1) * self.answers)).mT
        return self

    def error(self, v: Inexact[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """How far matrix v may be off for a stable agent, shape (...)."""
        rounds, d = self.replies.shape[-2:]
        parts = apply(self.right.to(v.dtype), v)
        unseen = v - apply(self.right.mT.to(v.dtype), parts * self.kept)
        spread = (
            self.sigma
            * (d**0.5 + DEVIATIONS)
            * vector_norm(self.inverse * parts, dim=-1)
        )
        # Noise on the messages sent makes least squares shrink the map towards zero.
        shrinking = (
            rounds
            * self.sigma.square()
            * vector_norm(self.inverse.square() * parts, dim=-1)
        )
        return spread + shrinking + vector_norm(unseen, dim=-1)

    def along(
        self, direction: Float[Tensor, "*batch d"], slip: Float[Tensor, "*batch"]
    ) -> tuple[Bool[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Whether the replies' part along a direction changes with what was sent, and
        whether it surely does not.

        `slip` is the error of the direction. Neither holds where the messages sent
        varied too little to show it.
        """
        d = direction.shape[-1]
        change = vector_norm(apply(self.answers, direction), dim=-1)
        noise = 2 * self.sigma * (self.rank**0.5 + DEVIATIONS) + slip * matrix_norm(
            self.answers
        )
        sent = vector_norm(self.values * self.kept, dim=-1) / d**0.5
        return change > noise, (change <= noise) & (noise <= RESOLUTION * sent)

    def map(self) -> FittedMap:
        """The fitted map, with its target where that is known."""
        d = self.replies.shape[-1]
        offset = self.mean_out - apply(self.matrix, self.mean_in)
        moves = eye(self.matrix) - self.matrix
        solve = torch.linalg.pinv(
            moves, atol=max(BLIND, 45 * torch.finfo(moves.dtype).eps)
        )
        target = apply(solve, offset)
        error = matrix_norm(solve, 2) * self.error(target - self.mean_in)
        known = (self.rank == d) & (error <= RESOLUTION * vector_norm(target, dim=-1))
        return FittedMap(
            self.matrix, offset, self.rank, target.where(known.unsqueeze(-1), torch.nan)
        )
