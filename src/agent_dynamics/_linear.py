"""Batched linear algebra that several modules need."""

from torch import Tensor


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """The products of matrices (..., m, d) with vectors (..., d), shape (..., m)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
