"""Prompts: regression examples in context, their objective, and random ones to draw.

A prompt is n examples X (rows) with labels y = X t for a target t. Its objective is

    L(v) = ||X v - y||^2 / (2 n) = (v - t)' S (v - t) / 2,    S = X'X / n,

with the prompt geometry S (:eq:`eq-objective`). All arrays are batches: leading
dimensions are free and broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from .linear import apply


@dataclass(frozen=True, eq=False)
class Prompt:
    """An in-context linear-regression prompt without label noise (:eq:`eq-objective`).

    Args:
        inputs: examples X, shape (..., n, d), one example a row.
        target: weights t that the labels come from, shape (..., d).

    Raises:
        ValueError: shapes that do not match, or entries that are not finite.
    """

    inputs: Float[Tensor, "*#batch n d"]
    target: Float[Tensor, "*#batch d"]

    def __post_init__(self) -> None:
        inputs = _checks.real_tensor("inputs", self.inputs)
        if inputs.ndim < 2 or 0 in inputs.shape[-2:]:
            raise _checks.bad(
                "inputs",
                f"of shape {tuple(inputs.shape)}",
                "of shape (..., n, d) with n and d at least 1",
            )
        target = _checks.real_tensor("target", self.target, like=inputs)
        _checks.last_dimension("target", target, inputs.shape[-1])
        _checks.broadcast_shapes(inputs=inputs.shape[:-2], target=target.shape[:-1])
        _checks.keep(self, "inputs", inputs)
        _checks.keep(self, "target", target)

    @property
    def dimension(self) -> int:
        """The dimension d of messages and targets."""
        return self.inputs.shape[-1]

    @property
    def examples(self) -> int:
        """The number n of examples."""
        return self.inputs.shape[-2]

    @cached_property
    def batch(self) -> torch.Size:
        """The leading shape of examples and target together."""
        return torch.broadcast_shapes(self.inputs.shape[:-2], self.target.shape[:-1])

    @cached_property
    def labels(self) -> Float[Tensor, "... {self.examples}"]:
        """Labels y = X t, shape (..., n)."""
        return apply(self.inputs, self.target)

    @cached_property
    def covariance(self) -> Float[Tensor, "... {self.dimension} {self.dimension}"]:
        """The prompt geometry S = X'X / n, shape (..., d, d)."""
        return self.inputs.mT @ self.inputs / self.examples

    @cached_property
    def gram(self) -> Float[Tensor, "... {self.dimension}+1 {self.dimension}+1"]:
        """Moments of the tokens (x; y), [X y]'[X y] / n, shape (..., d + 1, d + 1)."""
        inputs, labels = torch.broadcast_tensors(self.inputs, self.labels.unsqueeze(-1))
        tokens = torch.cat([inputs, labels[..., :1]], dim=-1)
        return tokens.mT @ tokens / self.examples

    def loss(self, w: Float[Tensor, "... {self.dimension}"]) -> Float[Tensor, "..."]:
        """L(w) = (w - t)' S (w - t) / 2 for messages w (..., d); shape (...)."""
        gap = self._gap(w)
        return (gap * apply(self.covariance, gap)).sum(-1) / 2

    def gradient(
        self, w: Float[Tensor, "... {self.dimension}"]
    ) -> Float[Tensor, "... {self.dimension}"]:
        """grad L(w) = S (w - t) for messages w (..., d); shape (..., d)."""
        return apply(self.covariance, self._gap(w))

    def _gap(self, w: Tensor) -> Float[Tensor, "... {self.dimension}"]:
        message = _checks.message("w", w, like=self.target, batch=self.batch)
        return message - self.target


def _orthonormal(
    rows: int, columns: int, shape: tuple[int, ...], generator: torch.Generator
) -> Float[Tensor, "... rows columns"]:
    """Haar-distributed matrices (*shape, rows, columns) with orthonormal columns."""
    gaussian = torch.randn(
        *shape, rows, columns, generator=generator, dtype=torch.float64
    )
    q, r = torch.linalg.qr(gaussian)
    # QR alone is not Haar: its signs depend on the LAPACK convention.
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def prompt_with_covariance(
    covariance: Float[Tensor, "*#batch d d"],
    target: Float[Tensor, "*#batch d"],
    n: int,
    *,
    generator: torch.Generator,
) -> Prompt:
    """A random prompt of n examples whose covariance is exactly the one asked for.

    With S = E diag(l) E' and Q random with orthonormal columns, X = sqrt(n) Q
    diag(sqrt(l)) E' has X'X / n = S.

    Args:
        covariance: S, symmetric positive semi-definite, shape (..., d, d).
        target: t, shape (..., d).
        n: the number of examples, at least the rank of every S; eigenvalues at rounding
            count as zero.
        generator: source of the random rotation Q.

    Raises:
        ValueError: a covariance that is not symmetric positive semi-definite, n below
            its rank, shapes that do not match, entries that are not finite.
    """
    s = _checks.covariance("covariance", covariance)
    d = s.shape[-1]
    n = _checks.count("n", n)
    target = _checks.last_dimension(
        "target", _checks.real_tensor("target", target, like=s), d
    )
    shape = _checks.broadcast_shapes(covariance=s.shape[:-2], target=target.shape[:-1])
    eigenvalues, eigenvectors = torch.linalg.eigh(s)
    kept = min(n, d)
    dropped = eigenvalues[..., : d - kept]
    limit = 100 * d * torch.finfo(s.dtype).eps * eigenvalues[..., -1:]
    if (dropped > limit).any():
        raise _checks.bad("n", n, "at least the rank of the covariance")
    root = (
        eigenvalues[..., d - kept :].clamp_min(0).sqrt().unsqueeze(-2)
        * eigenvectors[..., d - kept :]
    )
    q = _orthonormal(n, kept, shape, _checks.generator(generator)).to(s)
    return Prompt(math.sqrt(n) * q @ root.mT, target)


def random_covariance(
    d: int,
    condition_number: float | Float[Tensor, "..."] = 1.0,
    *,
    generator: torch.Generator,
    rank: int | None = None,
    largest: float | Float[Tensor, "..."] = 1.0,
    shape: tuple[int, ...] = (),
) -> Float[Tensor, "... d d"]:
    """Random covariances with a given spectrum's ends and a Haar-random orientation.

    The non-zero eigenvalues run geometrically from largest / condition_number to
    largest.

    Args:
        d: dimension.
        condition_number: ratio of the extreme non-zero eigenvalues, at least 1; a float
            or a tensor of shape `shape`. With rank 1 it must be 1, since there is one
            eigenvalue.
        generator: source of the orientation.
        rank: number of non-zero eigenvalues, from 0 to d; d when not given.
        largest: the largest eigenvalue, positive; a float or a tensor of shape `shape`.
        shape: leading shape of the batch.

    Returns:
        Covariances of shape (*shape, d, d), float64.

    Raises:
        ValueError: a condition number below 1 (or other than 1 at rank 1), a rank
            outside 0..d, a largest eigenvalue that is not positive.
    """
    d = _checks.count("d", d)
    shape = _checks.shape("shape", shape)
    rank = d if rank is None else _checks.count("rank", rank, 0)
    if rank > d:
        raise _checks.bad("rank", rank, f"at most d = {d}")
    condition = _checks.real_tensor("condition_number", condition_number).to(
        torch.float64
    )
    if (condition < 1).any():
        raise _checks.bad(
            "condition_number", f"{condition.min().item():g}", "at least 1"
        )
    if rank == 1 and (condition != 1).any():
        raise _checks.bad(
            "condition_number", f"{condition.max().item():g}", "1 where the rank is 1"
        )
    top = _checks.positive("largest", largest).to(torch.float64)
    _checks.number_or_shape("condition_number", condition, shape)
    _checks.number_or_shape("largest", top, shape)
    exponents = (
        torch.linspace(-1, 0, rank, dtype=torch.float64)
        if rank > 1
        else torch.zeros(rank)
    )
    spectrum = top.unsqueeze(-1) * condition.unsqueeze(-1) ** exponents
    eigenvectors = _orthonormal(d, rank, shape, _checks.generator(generator))
    half = eigenvectors * spectrum.sqrt().unsqueeze(-2)
    return half @ half.mT


def turned_covariance(
    covariance: Float[Tensor, "*#batch d d"], angle: float | Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch d d"]:
    """A covariance with the same spectrum and with eigenvectors turned by an angle.

    The planes of the turn pair the eigenvectors of the largest and the smallest
    eigenvalue, of the second largest and the second smallest, and so on. So at pi / 2
    the spectrum is reversed; between 0 and pi / 2 the two covariances do not commute.

    Args:
        covariance: S, symmetric positive semi-definite, shape (..., d, d).
        angle: radians, from 0 to pi / 2; a float or a tensor of shape (...).

    Raises:
        ValueError: a covariance that is not symmetric positive semi-definite, an angle
            outside [0, pi / 2].
    """
    s = _checks.covariance("covariance", covariance)
    turn = _checks.real_tensor("angle", angle, like=s)
    if (turn < 0).any() or (turn > torch.tensor(math.pi / 2, dtype=turn.dtype)).any():
        raise _checks.bad(
            "angle",
            f"{turn.min().item():g} to {turn.max().item():g}",
            "between 0 and pi / 2",
        )
    _checks.broadcast_shapes(covariance=s.shape[:-2], angle=turn.shape)
    eigenvalues, vectors = torch.linalg.eigh(s)
    half = s.shape[-1] // 2
    low, high = vectors[..., :half], vectors[..., -half:].flip(-1)
    middle = vectors[..., half : s.shape[-1] - half]
    cosine, sine = turn.cos()[..., None, None], turn.sin()[..., None, None]
    parts = [cosine * low + sine * high, middle, (cosine * high - sine * low).flip(-1)]
    batch = torch.broadcast_shapes(s.shape[:-2], turn.shape)
    turned = torch.cat([part.expand(*batch, *part.shape[-2:]) for part in parts], -1)
    result = turned * eigenvalues.unsqueeze(-2) @ turned.mT
    return (result + result.mT) / 2


def target_pair(
    d: int,
    angle: float | Float[Tensor, "..."],
    norm: float | Float[Tensor, "..."] = 1.0,
    *,
    generator: torch.Generator,
    shape: tuple[int, ...] = (),
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
    """Two random targets of equal norm at exactly the angle asked for.

    Args:
        d: dimension; d = 1 has only the angles 0 and pi.
        angle: angle between the targets in radians, from 0 to pi; a float or a tensor
            of shape `shape`.
        norm: norm of both, positive.
        generator: source of the plane's orientation.
        shape: leading shape of the batch.

    Returns:
        (w, u), each of shape (*shape, d), float64.

    Raises:
        ValueError: an angle outside [0, pi], or one that d = 1 cannot have; a norm that
            is not positive.
    """
    d = _checks.count("d", d)
    shape = _checks.shape("shape", shape)
    theta = _checks.angles("angle", angle)
    if d == 1 and not ((theta == 0) | (theta == math.pi)).all():
        raise _checks.bad("angle", f"{theta.max().item():g}", "0 or pi where d = 1")
    r = _checks.positive("norm", norm).to(torch.float64)
    _checks.number_or_shape("angle", theta, shape)
    _checks.number_or_shape("norm", r, shape)
    r = r.unsqueeze(-1)
    frame = _orthonormal(d, min(2, d), shape, _checks.generator(generator))
    first, second = frame[..., 0], frame[..., -1]
    theta = theta.unsqueeze(-1)
    w = r * first
    # sin(pi) is not zero in floating point; at d = 1 `second` is `first`, so take its
    # part out exactly.
    sine = torch.where(
        (theta == 0) | (theta == math.pi), torch.zeros_like(theta), theta.sin()
    )
    return w, r * (theta.cos() * first + sine * second)
