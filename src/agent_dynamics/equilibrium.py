"""Where an exchange of two affine agents settles, and how fast: closed forms.

With agent maps v -> A v + a for W and v -> B v + b for U, the alternation w <- A u + a,
u <- B w + b has the limit w = (I - A B)^{-1} (A b + a). For gradient agents, with
A = I - eta_W S_W, B = I - eta_U S_U and Delta = u* - w*, this is the biased equilibrium
(:prf:ref:`thm-equilibrium`):

    e_W = (I - A B)^{-1} A (I - B) Delta,   e_U = -(I - B A)^{-1} B (I - A) Delta.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm

from . import _checks
from ._maps import LEFT_ALONE, pair_maps, round_off_kernel
from .agents import AffineAgent
from .linear import apply, eye, negligible, solve
from .prompts import Prompt


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """The limit of an alternation of two agents.

    Attributes:
        w, u: the limits of W's and of U's messages, shape (..., d).
        error_w, error_u: w - w* and u - u*, shape (..., d).
        rate: spectral radius of A B off the shared kernel, the factor by which a turn
            of both shrinks the distance to the equilibrium in the long run, shape
            (...).
        shared_kernel: dimension of ker(I - A) with ker(I - B), where neither agent
            moves a message, shape (...). Where it is positive rho(A B) = 1 and the
            start's part in it stays for ever.
    """

    w: Float[Tensor, "*batch d"]
    u: Float[Tensor, "*batch d"]
    error_w: Float[Tensor, "*batch d"]
    error_u: Float[Tensor, "*batch d"]
    rate: Float[Tensor, "*batch"]
    shared_kernel: Int[Tensor, "*batch"]


def equilibrium(
    agent_w: AffineAgent,
    agent_u: AffineAgent,
    start: Float[Tensor, "... d"] | None = None,
) -> Equilibrium:
    """The biased equilibrium of two affine agents, with a shared kernel too.

    See :prf:ref:`thm-equilibrium` and, where their prompts share a kernel,
    :prf:ref:`thm-shared-kernel`.

    Args:
        agent_w: the agent that replies to the start.
        agent_u: the agent that replies to it.
        start: the first message u_0, shape (..., d); only its part in the shared kernel
            matters. Zero when not given.

    Raises:
        ValueError: agents of different dimensions or of batches that do not broadcast;
            a start that does not fit them; an alternation that does not converge, with
            rho(A B) >= 1 off the shared kernel, or with turns that move the part in it,
            as no gradient agent's do.
    """
    A, B, a, b = pair_maps(agent_w, agent_u)
    d = A.shape[-1]
    start = (
        A.new_zeros(d) if start is None else _checks.real_tensor("start", start, like=A)
    )
    _checks.last_dimension("start", start, d)
    _checks.broadcast_shapes(agents=A.shape[:-2], start=start.shape[:-1])

    kept, nullity, rate = round_off_kernel(A, B)
    identity = eye(A)
    offset = apply(A, b) + a
    drift = apply(kept, offset).abs().amax(-1)
    if (drift > LEFT_ALONE * offset.abs().amax(-1).clamp_min(1)).any():
        raise _checks.bad(
            "agents",
            f"a pair that drifts by {drift.max().item():.2g} a round in its shared "
            "kernel",
            "a pair whose turns leave the part in their shared kernel alone",
        )
    moving = solve(identity - A @ B + kept, offset - apply(kept, offset))
    w = moving + apply(kept, start)
    u = apply(B, w) + b
    error_w, error_u = w - agent_w.target, u - agent_u.target
    # The targets' dimensions too, of which rate and kernel know nothing.
    batch = w.shape[:-1]
    return Equilibrium(
        w, u, error_w, error_u, rate.expand(batch), nullity.expand(batch)
    )


def small_step_limit(prompt_w: Prompt, prompt_u: Prompt) -> Float[Tensor, "... d"]:
    """The common limit of both agents as equal step sizes go to zero.

    It minimises L_W + L_U: (S_W + S_U)^{-1} (S_W w* + S_U u*), shape (..., d)
    (:prf:ref:`thm-small-step`).

    Raises:
        ValueError: prompts of different dimensions, or ones whose kernels meet, where
            the minimiser is not unique.
    """
    d = prompt_w.dimension
    if prompt_u.dimension != d:
        raise _checks.bad(
            "prompt_u",
            f"of dimension {prompt_u.dimension}",
            f"of prompt_w's dimension {d}",
        )
    s_w, s_u = prompt_w.covariance, prompt_u.covariance
    _checks.broadcast_shapes(prompt_w=prompt_w.batch, prompt_u=prompt_u.batch)
    eigenvalues = torch.linalg.eigvalsh(s_w + s_u)
    if (eigenvalues[..., 0] <= negligible(s_w) * eigenvalues[..., -1]).any():
        raise _checks.bad(
            "prompts",
            "a pair whose kernels meet",
            "a pair with S_W + S_U positive definite",
        )
    return solve(s_w + s_u, apply(s_w, prompt_w.target) + apply(s_u, prompt_u.target))


def limit_bound(
    agent_w: AffineAgent,
    agent_u: AffineAgent,
    learned_w: AffineAgent,
    learned_u: AffineAgent,
) -> Float[Tensor, "..."]:
    """How far learned agents settle from the exact agents that they imitate, at most.

    Let delta_W = ||[A' - A, a' - a]||_F be the error of W's learned map, delta_U that
    of U's, delta their sum, kappa the larger norm of (I - A B)^{-1} and (I - B A)^{-1},
    and all norms of A and B at most 1 (kappa grows by them otherwise). Where
    kappa delta < 1, both distances are at most (:prf:ref:`prop-learned-limit`)

        kappa (delta_W sqrt(1 + ||u||^2) + delta_U sqrt(1 + ||w||^2))
        / (1 - kappa delta).

    Args:
        agent_w, agent_u: the exact pair, which has no shared kernel.
        learned_w, learned_u: the learned one, with the same leading shapes.

    Returns:
        The bound on both ||w' - w|| and ||u' - u||, shape (...).

    Raises:
        ValueError: learned errors too large for the bound, kappa (delta_W + delta_U) >=
            1; as `equilibrium`.
    """
    limit = equilibrium(agent_w, agent_u)
    A, B, a, b = pair_maps(agent_w, agent_u)
    learned_A, learned_B, learned_a, learned_b = pair_maps(learned_w, learned_u)
    _checks.last_dimension("learned_w", learned_a, A.shape[-1])
    _checks.broadcast_shapes(agents=limit.w.shape[:-1], learned=learned_a.shape[:-1])
    delta_w = torch.hypot(
        matrix_norm(learned_A - A), vector_norm(learned_a - a, dim=-1)
    )
    delta_u = torch.hypot(
        matrix_norm(learned_B - B), vector_norm(learned_b - b, dim=-1)
    )
    identity = eye(A)
    largest_norm = torch.maximum(matrix_norm(A, 2), matrix_norm(B, 2)).clamp_min(1)
    kappa = largest_norm / torch.minimum(
        matrix_norm(identity - A @ B, -2), matrix_norm(identity - B @ A, -2)
    )
    contraction = kappa * (delta_w + delta_u)
    if not (contraction < 1).all():
        raise _checks.bad(
            "learned_w and learned_u",
            f"off by up to {contraction.max().item():.3g} times the bound's reach",
            "so close to the exact agents that kappa (delta_W + delta_U) < 1",
        )
    one = torch.ones_like(kappa)
    size_w, size_u = (
        torch.hypot(one, vector_norm(x, dim=-1)) for x in (limit.w, limit.u)
    )
    return kappa * (delta_w * size_u + delta_u * size_w) / (1 - contraction)
