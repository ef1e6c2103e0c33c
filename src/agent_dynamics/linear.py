"""Batched linear algebra that several modules and chapters need."""

from __future__ import annotations

import torch
from torch import Tensor

# Singular values below this, relative to the largest, or below rounding count as zero.
KERNEL_TOLERANCE = 1e-12


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """The products of matrices (..., m, d) with vectors (..., d), shape (..., m)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def solve(matrix: Tensor, vector: Tensor) -> Tensor:
    """The solutions x of matrix x = vector for matrices (..., d, d) and vectors (...,
    d), shape (..., d).
    """
    # Without the extra dimension torch could read a batch of vectors as one matrix.
    return torch.linalg.solve(matrix, vector.unsqueeze(-1)).squeeze(-1)


def eye(matrix: Tensor) -> Tensor:
    """The identity (d, d) of the dtype and on the device of matrices (..., m, d)."""
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def rounding(matrix: Tensor) -> float:
    """What I - A carries of rounding, however small the step: A (..., d, d) has entries
    of size 1.
    """
    return 10 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps


def negligible(matrix: Tensor) -> float:
    """What counts as zero beside the largest eigenvalue or singular value of matrices
    (..., d, d).
    """
    return max(KERNEL_TOLERANCE, rounding(matrix))
