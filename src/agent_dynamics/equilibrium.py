"""Where an exchange of two affine agents settles, and how fast: closed forms.

With agent maps v -> A v + a for W and v -> B v + b for U, the alternation w <- A u + a, u <- B w + b has
the limit w = (I - A B)^{-1} (A b + a). For gradient agents, A = I - eta_W S_W and B = I - eta_U S_U, this is
the biased equilibrium of theory section 4:

    e_W = (I - A B)^{-1} A (I - B) Delta,   e_U = -(I - B A)^{-1} B (I - A) Delta,   Delta = u* - w*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import _checks
from .agents import AffineAgent
from .prompts import Prompt

KERNEL_TOLERANCE = 1e-12  # singular values of [I - A; I - B] below this, relative, or rounding count as zero


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """The limit of an alternation of two agents.

    Attributes:
        w, u: the limits of W's and of U's messages, shape (..., d).
        error_w, error_u: w - w* and u - u*, shape (..., d).
        rate: spectral radius of A B off the shared kernel, the factor by which a turn of both shrinks the
            distance to the equilibrium in the long run, shape (...).
        shared_kernel: dimension of ker(I - A) with ker(I - B), where neither agent moves a message,
            shape (...). Where it is positive rho(A B) = 1 and the start's part in it stays for ever.
    """

    w: Tensor
    u: Tensor
    error_w: Tensor
    error_u: Tensor
    rate: Tensor
    shared_kernel: Tensor


def equilibrium(agent_w: AffineAgent, agent_u: AffineAgent, start: Tensor | None = None) -> Equilibrium:
    """The biased equilibrium of two affine agents, exact where their prompts share a kernel too.

    Args:
        agent_w: the agent that replies to the start.
        agent_u: the agent that replies to it.
        start: the first message u_0, shape (..., d); only its part in the shared kernel matters. Zero when
            not given.

    Raises:
        ValueError: agents of different dimensions or of batches that do not broadcast; a start that does
            not fit them; an alternation that does not converge (rho(A B) >= 1 off the shared kernel).
    """
    (A, a), (B, b) = agent_w.affine(), agent_u.affine()
    d = A.shape[-1]
    if B.shape[-1] != d:
        raise _checks.bad("agent_u", f"of dimension {B.shape[-1]}", f"of agent_w's dimension {d}")
    batch = _checks.broadcast_shapes(agent_w=A.shape[:-2], agent_u=B.shape[:-2])
    A, B = A.expand(*batch, d, d), B.expand(*batch, d, d)
    start = A.new_zeros(d) if start is None else _checks.real_tensor("start", start, like=A)
    _checks.last_dimension("start", start, d)
    _checks.broadcast_shapes(agents=batch, start=start.shape[:-1])

    kept, nullity = _shared_kernel(A, B)
    composed = A @ B
    # A and B are the identity on the shared kernel, so composed - kept is composed off it and zero on it.
    rate = torch.linalg.eigvals(composed - kept).abs().amax(-1)
    if not (rate < 1).all():
        raise _checks.bad("agents", f"a pair with spectral radius {rate.max().item():.6g}",
                          "a pair with spectral radius below 1 off the shared kernel (stable step sizes)")
    identity = torch.eye(d, dtype=A.dtype, device=A.device)
    offset = _apply(A, b) + a
    moving = _solve(identity - composed + kept, offset - _apply(kept, offset))
    w = moving + _apply(kept, start)
    u = _apply(B, w) + b
    return Equilibrium(w, u, w - agent_w.target, u - agent_u.target, rate, nullity)


def small_step_limit(prompt_w: Prompt, prompt_u: Prompt) -> Tensor:
    """The common limit of both agents as equal step sizes go to zero (theory section 4).

    It minimises L_W + L_U: (S_W + S_U)^{-1} (S_W w* + S_U u*), shape (..., d).

    Raises:
        ValueError: prompts of different dimensions, or ones whose kernels meet, where the minimiser is not
            unique.
    """
    d = prompt_w.dimension
    if prompt_u.dimension != d:
        raise _checks.bad("prompt_u", f"of dimension {prompt_u.dimension}", f"of prompt_w's dimension {d}")
    s_w, s_u = prompt_w.covariance, prompt_u.covariance
    _checks.broadcast_shapes(prompt_w=prompt_w.gram.shape[:-2], prompt_u=prompt_u.gram.shape[:-2])
    eigenvalues = torch.linalg.eigvalsh(s_w + s_u)
    if (eigenvalues[..., 0] <= KERNEL_TOLERANCE * eigenvalues[..., -1]).any():
        raise _checks.bad("prompts", "a pair whose kernels meet", "a pair with S_W + S_U positive definite")
    return _solve(s_w + s_u, _apply(s_w, prompt_w.target) + _apply(s_u, prompt_u.target))


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _solve(matrix: Tensor, vector: Tensor) -> Tensor:
    # Without the extra dimension torch could read a batch of vectors as one matrix.
    return torch.linalg.solve(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _shared_kernel(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Orthogonal projector on the intersection of ker(I - A) and ker(I - B), and its dimension."""
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    _, singular, directions = torch.linalg.svd(torch.cat([identity - A, identity - B], dim=-2),
                                               full_matrices=False)
    # A and B have entries of size 1, so I - A and I - B carry their rounding however small the steps.
    rounding = 10 * A.shape[-1] * torch.finfo(A.dtype).eps
    null = (singular <= (KERNEL_TOLERANCE * singular[..., :1]).clamp_min(rounding)).to(A.dtype)
    return directions.mT @ (null.unsqueeze(-1) * directions), null.sum(-1).to(torch.int64)
