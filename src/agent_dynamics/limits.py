"""Where other protocols settle: rings, simultaneous replies, graphs, a random order,
noise, fresh prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import matrix_norm

from . import _checks
from ._maps import batch_maps
from .agents import AffineAgent
from .linear import apply, eye, negligible, solve


@dataclass(frozen=True, eq=False)
class Limits:
    """The limits of N agents' messages under a protocol.

    Attributes:
        messages: the limit of each agent's message, shape (..., N, d).
        errors: its difference to the agent's own target, shape (..., N, d).
        rate: spectral radius of one round, shape (...).
    """

    messages: Float[Tensor, "*batch N d"]
    errors: Float[Tensor, "*batch N d"]
    rate: Float[Tensor, "*batch"]


def ring_equilibrium(agents: Sequence[AffineAgent]) -> Limits:
    """Where N agents that reply in a ring settle (:prf:ref:`thm-ring`).

    That is the fixed point of the composition of their maps.

    Args:
        agents: one or more, in the order in which they reply.

    Raises:
        ValueError: no agents, dimensions or batches that do not fit, a round that does
            not contract (a shared kernel included; for two agents `equilibrium` handles
            one).
    """
    maps = batch_maps(agents)
    turn, offset = maps[0]
    for A, a in maps[1:]:
        turn, offset = A @ turn, apply(A, offset) + a
    message, rate = _fixed_point(turn, offset)
    messages = []
    for A, a in maps:
        message = apply(A, message) + a
        messages.append(message)
    return _limits(agents, messages, rate)


def simultaneous_equilibrium(agents: Sequence[AffineAgent]) -> Limits:
    """Where agents that all reply to the mean of their last replies settle.

    The shared message is the fixed point of the mean of their maps, and the mean of
    `messages`. For gradient agents of one step it minimises the sum of the objectives,
    each times its step size (:prf:ref:`thm-ring`).

    Raises:
        ValueError: as `ring_equilibrium`.
    """
    maps = batch_maps(agents)
    mean, offset = (sum(parts) / len(maps) for parts in zip(*maps, strict=True))
    message, rate = _fixed_point(mean, offset)
    return _limits(agents, [apply(A, message) + a for A, a in maps], rate)


def graph_equilibrium(
    agents: Sequence[AffineAgent],
    weights: Float[Tensor, "{len(agents)} {len(agents)}"],
) -> Limits:
    """Where N agents settle that each reply to a mean of the last replies of others.

    Agent i acts on sum_j P_ij v_j. The limit is the fixed point of the round, which for
    gradient agents is (I - A (P kron I))^{-1} (I - A) t with A = blockdiag(A_1 ... A_N)
    (:prf:ref:`thm-graph`).

    Args:
        agents: one or more.
        weights: P, row i says how much agent i listens to each, shape (N, N); no entry
            negative, each row of sum 1.

    Raises:
        ValueError: weights that are not row-stochastic; as `ring_equilibrium`.
    """
    A, a = _stacked(agents)
    P = _shares("weights", weights, (len(agents),) * 2, like=a)
    turn = torch.einsum("...iab,ij->...iajb", A, P).flatten(-4, -3).flatten(-2)
    messages, rate = _fixed_point(turn, a.flatten(-2))
    return _limits(agents, messages.unflatten(-1, a.shape[-2:]).unbind(-2), rate)


def random_order(
    agents: Sequence[AffineAgent], probabilities: Float[Tensor, " {len(agents)}"]
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d d"]]:
    """The mean and the covariance of one message to which a random agent replies next.

    Every turn draws its agent anew, agent i with probability p_i. For gradient agents
    the mean m minimises the sum of p_i eta_i L_i. With g_i the step of agent i from m,
    the covariance solves C = sum_i p_i (A_i C A_i' + g_i g_i')
    (:prf:ref:`thm-random-order`).

    Args:
        agents: one or more.
        probabilities: p, shape (N,); none negative, of sum 1.

    Returns:
        The mean, shape (..., d), and the covariance, shape (..., d, d), after many
        turns.

    Raises:
        ValueError: probabilities that do not fit; no agents, dimensions or batches that
            do not fit; a turn that does not contract in mean square,
            rho(sum_i p_i A_i kron A_i) >= 1.
    """
    A, a = _stacked(agents)
    p = _shares("probabilities", probabilities, (len(agents),), like=a)
    square = torch.einsum("i,...iab,...icd->...acbd", p, A, A)
    square = square.flatten(-4, -3).flatten(-2)
    _contraction(square, "a turn in mean square")
    turn, offset = torch.einsum("i,...iab->...ab", p, A), (p.unsqueeze(-1) * a).sum(-2)
    mean, _ = _fixed_point(turn, offset)
    steps = apply(A, mean.unsqueeze(-2)) + a - mean.unsqueeze(-2)
    added = torch.einsum("i,...ia,...ib->...ab", p, steps, steps)
    covariance = solve(eye(square) - square, added.flatten(-2))
    return mean, covariance.unflatten(-1, added.shape[-2:])


def stationary_covariance(
    agents: Sequence[AffineAgent], noise: float
) -> Float[Tensor, "... {len(agents)} d d"]:
    """The covariance of each agent's messages in a ring with white noise on each
    message.

    After a round with linear part M the last agent's covariance solves the discrete
    Lyapunov equation C = M C M' + Q (:eq:`eq-lyapunov`), with Q what the noise of one
    round adds up to. Each agent turns C into A C A' + noise^2 I (:prf:ref:`thm-noise`).

    Args:
        agents: one or more, in the order in which they reply.
        noise: standard deviation of the noise on every entry, positive.

    Returns:
        Covariances of shape (..., N, d, d), the messages of agent i under i.

    Raises:
        ValueError: noise that is not positive; as `ring_equilibrium`.
    """
    maps = batch_maps(agents)
    identity = eye(maps[0][0])
    white = _checks.finite_number("noise", noise, above=0) ** 2 * identity
    turn, added = identity, torch.zeros_like(identity)
    for A, _ in maps:
        turn, added = A @ turn, A @ added @ A.mT + white
    _contraction(turn)
    covariance = _lyapunov(turn, added)
    covariances = []
    for A, _ in maps:
        covariance = A @ covariance @ A.mT + white
        covariances.append(covariance)
    return torch.stack(covariances, dim=-3)


def redrawn_plateau(
    step: float | Float[Tensor, "*batch"], examples: int, d: int
) -> Float[Tensor, "*batch"]:
    """The mean square error of agents that redraw their prompts, over the squared gap.

    Both draw n = `examples` Gaussian examples of covariance lambda I every turn. With
    x = eta lambda the mean of a step is a = 1 - x, its mean square growth is
    g = (1 - x)^2 + x^2 (d + 1) / n, and in the long run (:prf:ref:`thm-redrawn`)

        E ||e_W||^2 = E ||e_U||^2 = g (1 - a) / ((1 - g) (1 + a)) ||Delta||^2.

    Args:
        step: eta lambda, any shape.
        examples: number of examples in each prompt.
        d: dimension.

    Returns:
        The shape of `step`, float64.

    Raises:
        ValueError: a step that is not positive, or one with g >= 1, where the mean
            square error diverges.
    """
    x = _checks.positive("step", step).to(torch.float64)
    growth = (1 - x) ** 2 + x**2 * (_checks.count("d", d) + 1) / _checks.count(
        "examples", examples
    )
    if (growth >= 1).any():
        raise _checks.bad(
            "step",
            f"{x.max().item():g}",
            f"below 2 / (1 + (d + 1) / examples) = {2 / (1 + (d + 1) / examples):g}",
        )
    return growth * x / ((1 - growth) * (2 - x))


def _stacked(
    agents: Sequence[AffineAgent],
) -> tuple[Float[Tensor, "*maps N d d"], Float[Tensor, "*batch N d"]]:
    matrices, offsets = zip(*batch_maps(agents), strict=True)
    return torch.stack(matrices, dim=-3), torch.stack(offsets, dim=-2)


def _shares(
    argument: str, value: Tensor, shape: tuple[int, ...], *, like: Tensor
) -> Tensor:
    """`value` as shares of a whole: of this shape, none negative, of sum 1 along the
    last dimension.
    """
    shares = _checks.real_tensor(argument, value)
    if shares.shape != shape:
        raise _checks.bad(
            argument, f"of shape {tuple(shares.shape)}", f"of shape {shape}"
        )
    if (shares < 0).any():
        raise _checks.bad(argument, f"{shares.min().item():g}", "nowhere negative")
    off = (shares.sum(-1) - 1).abs().max().item()
    if off > 10 * shape[-1] * torch.finfo(shares.dtype).eps:
        whole = "row" if shares.ndim == 2 else "whole"
        raise _checks.bad(
            argument, f"with a {whole} of sum off by {off:.2g}", "of sum 1"
        )
    return shares.to(like)


def _limits(
    agents: Sequence[AffineAgent],
    messages: Sequence[Float[Tensor, "*batch d"]],
    rate: Float[Tensor, "..."],
) -> Limits:
    errors = [
        message - agent.target for message, agent in zip(messages, agents, strict=True)
    ]
    return Limits(
        torch.stack(tuple(messages), dim=-2),
        torch.stack(errors, dim=-2),
        rate.expand(messages[0].shape[:-1]),
    )


def _fixed_point(
    matrix: Float[Tensor, "*#batch d d"], offset: Float[Tensor, "*#batch d"]
) -> tuple[Float[Tensor, "... d"], Float[Tensor, "..."]]:
    rate = _contraction(matrix)
    identity = eye(matrix)
    return solve(identity - matrix, offset), rate


def _contraction(
    matrix: Float[Tensor, "*batch d d"], of: str = "a round"
) -> Float[Tensor, "*batch"]:
    rate = torch.linalg.eigvals(matrix).abs().amax(-1)
    # An eigenvalue 1, of a shared kernel, comes out of rounding on either side.
    if not (rate < 1 - negligible(matrix)).all():
        raise _checks.bad(
            "agents",
            f"{of} with spectral radius {rate.max().item():.6g}",
            f"{of} with spectral radius below 1",
        )
    return rate


def _lyapunov(
    matrix: Float[Tensor, "*#batch d d"], added: Float[Tensor, "*#batch d d"]
) -> Float[Tensor, "*batch d d"]:
    """C = M C M' + Q, the sum of M^k Q M'^k, by doubling the number of its terms;
    spectral radius of M below 1.
    """
    total, power = added, matrix
    while (matrix_norm(power) > torch.finfo(power.dtype).eps).any():
        total = total + power @ total @ power.mT
        power = power @ power
    return total
