"""The affine maps of agents in one batch shape, and what a round of two of them leaves
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from . import _checks
from .agents import AffineAgent
from .linear import KERNEL_TOLERANCE, eye, rounding

# What turns may move in the shared kernel: above a trained layer's error, and rounding
# in float32.
LEFT_ALONE = 1e-6


def pair_maps(
    agent_w: AffineAgent, agent_u: AffineAgent
) -> tuple[
    Float[Tensor, "*maps d d"],
    Float[Tensor, "*maps d d"],
    Float[Tensor, "... d"],
    Float[Tensor, "... d"],
]:
    """(A, B, a, b) with A and B of one batch shape, or an error that names what does
    not fit.
    """
    (A, a), (B, b) = agent_w.affine(), agent_u.affine()
    if B.shape[-1] != A.shape[-1]:
        raise _checks.bad(
            "agent_u",
            f"of dimension {B.shape[-1]}",
            f"of agent_w's dimension {A.shape[-1]}",
        )
    if B.dtype != A.dtype:
        raise _checks.bad("agent_u", f"of {B.dtype}", f"of agent_w's {A.dtype}")
    _checks.broadcast_shapes(agent_w=a.shape[:-1], agent_u=b.shape[:-1])
    batch = _checks.broadcast_shapes(agent_w=A.shape[:-2], agent_u=B.shape[:-2])
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:]), a, b


def batch_maps(
    agents: Sequence[AffineAgent],
) -> list[tuple[Float[Tensor, "*maps d d"], Float[Tensor, "*batch d"]]]:
    """The agents' (A, b) in one dimension and batch shape, or an error that names what
    does not fit.
    """
    if not agents:
        raise _checks.bad("agents", "empty", "at least one agent")
    maps = [agent.affine() for agent in agents]
    dimensions = {b.shape[-1] for _, b in maps}
    if len(dimensions) > 1:
        raise _checks.bad(
            "agents", f"of dimensions {sorted(dimensions)}", "of one dimension"
        )
    dtypes = {b.dtype for _, b in maps}
    if len(dtypes) > 1:
        raise _checks.bad(
            "agents", f"of {' and '.join(sorted(map(str, dtypes)))}", "of one dtype"
        )
    shape = _checks.broadcast_shapes(
        **{f"agent {i}": A.shape[:-2] for i, (A, _) in enumerate(maps)}
    )
    batch = _checks.broadcast_shapes(
        **{f"agent {i}": b.shape[:-1] for i, (_, b) in enumerate(maps)}
    )
    return [
        (A.expand(*shape, *A.shape[-2:]), b.expand(*batch, b.shape[-1]))
        for A, b in maps
    ]


def round_off_kernel(
    A: Float[Tensor, "*batch d d"], B: Float[Tensor, "*batch d d"]
) -> tuple[Float[Tensor, "*batch d d"], Int[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Of the round A B: the projector on the shared kernel, its dimension, and the rate
    off it.

    Raises:
        ValueError: a round that does not converge off the shared kernel.
    """
    kept, nullity = _shared_kernel(A, B)
    leak = torch.maximum(*((kept @ M - kept).abs() for M in (A, B)))
    if (leak > LEFT_ALONE).any():
        raise _checks.bad(
            "agents",
            f"a pair that feeds its shared kernel by {leak.max().item():.2g}",
            "a pair whose turns leave the part in their shared kernel alone",
        )
    # A and B are the identity on the shared kernel, so A B - kept is A B off it and
    # zero on it.
    rate = torch.linalg.eigvals(A @ B - kept).abs().amax(-1)
    if not (rate < 1).all():
        raise _checks.bad(
            "agents",
            f"a pair with spectral radius {rate.max().item():.6g}",
            "a pair with spectral radius below 1 off the shared kernel (stable step "
            "sizes)",
        )
    return kept, nullity, rate


def _shared_kernel(
    A: Float[Tensor, "*batch d d"], B: Float[Tensor, "*batch d d"]
) -> tuple[Float[Tensor, "*batch d d"], Int[Tensor, "*batch"]]:
    """Orthogonal projector on the intersection of ker(I - A) and ker(I - B), and its
    dimension.
    """
    identity = eye(A)
    moves = torch.cat([identity - A, identity - B], dim=-2)
    # There is none where all squared singular values are clearly above rounding, and a
    # Cholesky factor shows that fast. The singular values themselves, which take long,
    # decide the rest.
    gram = moves.mT @ moves
    clear = rounding(A) * (10 * gram.diagonal(dim1=-2, dim2=-1).sum(-1) + rounding(A))
    close = torch.linalg.cholesky_ex(gram - clear[..., None, None] * identity).info != 0
    _, singular, directions = torch.linalg.svd(moves[close], full_matrices=False)
    null = (
        singular <= (KERNEL_TOLERANCE * singular[..., :1]).clamp_min(rounding(A))
    ).to(A.dtype)
    kept, nullity = torch.zeros_like(gram), torch.zeros_like(close, dtype=torch.int64)
    kept[close] = directions.mT @ (null.unsqueeze(-1) * directions)
    nullity[close] = null.sum(-1).to(torch.int64)
    return kept, nullity
