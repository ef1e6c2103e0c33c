"""Batched linear algebra that several modules and chapters need."""

from __future__ import annotations

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

# Singular values below this, relative to the largest, or below rounding count as zero.
KERNEL_TOLERANCE = 1e-12


def apply(
    matrix: Inexact[Tensor, "*#batch m d"], vector: Inexact[Tensor, "*#batch d"]
) -> Inexact[Tensor, "*batch m"]:
    """The products of matrices (..., m, d) with vectors (..., d), shape (..., m)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def solve(
    matrix: Float[Tensor, "*#batch d d"], vector: Float[Tensor, "*#batch d"]
) -> Float[Tensor, "*batch d"]:
    """The solutions x of matrix x = vector for matrices (..., d, d) and vectors (...,
    d), shape (..., d).
    """
    # Without the extra dimension torch could read a batch of vectors as one matrix.
    return torch.linalg.solve(matrix, vector.unsqueeze(-1)).squeeze(-1)


def eye(like: Inexact[Tensor, "... d"]) -> Inexact[Tensor, "d d"]:
    """The identity on vectors `like` these, in their dtype and on their device."""
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def rounding(matrix: Float[Tensor, "... d d"]) -> float:
    """What I - A carries of rounding, however small the step: A (..., d, d) has entries
    of size 1.
    """
    return 10 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps


def negligible(matrix: Float[Tensor, "... d d"]) -> float:
    """What counts as zero beside the largest eigenvalue or singular value of matrices
    (..., d, d).
    """
    return max(KERNEL_TOLERANCE, rounding(matrix))
