"""Errors for bad input, all in one form: the argument, what it was, what it must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor


def bad(argument: str, was: object, must: str) -> ValueError:
    """A ValueError that names the argument, what it was and what it must be."""
    return ValueError(f"{argument} was {was}; it must be {must}")


def real_tensor(argument: str, value: object, *, like: Tensor | None = None) -> Tensor:
    """`value` as a real floating tensor (dtype and device of `like`), all entries
    finite.
    """
    # Python numbers and lists would otherwise be read as float32.
    dtype = None if hasattr(value, "dtype") else torch.float64
    if isinstance(value, np.ndarray) and min(value.strides, default=0) < 0:
        value = value.copy()  # torch takes no negative strides
    try:
        tensor = torch.as_tensor(
            value, dtype=dtype, device=None if like is None else like.device
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise bad(argument, repr(value), "numbers in a tensor or array") from error
    if tensor.is_complex():
        raise bad(argument, f"of dtype {tensor.dtype}", "real")
    if like is not None:
        tensor = tensor.to(like.dtype)
    elif not tensor.is_floating_point():
        tensor = tensor.to(torch.float64)
    if not torch.isfinite(tensor).all():
        raise bad(argument, "not finite (NaN or infinity)", "finite")
    return tensor


def positive(argument: str, value: object, *, like: Tensor | None = None) -> Tensor:
    """`value` as a finite tensor whose entries are all greater than zero."""
    tensor = real_tensor(argument, value, like=like)
    if not (tensor > 0).all():
        raise bad(argument, f"{tensor.min().item():g}", "greater than 0")
    return tensor


def count(argument: str, value: object, at_least: int = 1) -> int:
    """`value` as an integer of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise bad(argument, repr(value), f"an integer of at least {at_least}")
    return int(value)


def keep(record: object, name: str, value: object) -> None:
    """Set a field of a frozen dataclass to what a check made of it, so that equal
    records have equal reprs.
    """
    object.__setattr__(record, name, value)


def finite_number(argument: str, value: object, *, above: float = -math.inf) -> float:
    """`value` as a finite float greater than `above`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not math.isfinite(value)
    ):
        raise bad(argument, repr(value), "a finite number")
    number = float(value)
    if not number > above:
        raise bad(argument, repr(value), f"greater than {above:g}")
    return number


def generator(value: object) -> torch.Generator:
    """`value` if it is a torch.Generator: no draw is made without an explicit one."""
    if not isinstance(value, torch.Generator):
        raise bad("generator", repr(value), "a torch.Generator")
    return value


def broadcast_shapes(**shapes: tuple[int, ...]) -> torch.Size:
    """The common leading shape of several arguments, or an error that names them."""
    try:
        return torch.broadcast_shapes(*shapes.values())
    except RuntimeError as error:
        names = " and ".join(shapes)
        raise bad(
            names,
            f"of leading shapes {', '.join(str(tuple(s)) for s in shapes.values())}",
            "shapes that broadcast together",
        ) from error


def message(
    argument: str, value: object, *, like: Tensor, batch: tuple[int, ...]
) -> Tensor:
    """`value` as messages (..., d) in the dtype and on the device of `like` (..., d).

    Its leading shape must broadcast with `batch`, that of whom it is for. Not tested
    for finiteness, so that an exchange that diverges can be watched.
    """
    try:
        tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise bad(argument, repr(value), "numbers in a tensor or array") from error
    own = last_dimension(argument, tensor, like.shape[-1]).shape[:-1]
    if own and batch and own != batch:  # the others, asked turn by turn, need no test
        try:
            torch.broadcast_shapes(own, batch)
        except RuntimeError as error:
            raise bad(
                argument,
                f"of leading shape {tuple(own)}",
                f"of one that broadcasts with {tuple(batch)}",
            ) from error
    return tensor


def angles(argument: str, value: object) -> Tensor:
    """`value` as float64 radians between 0 and pi, where pi is that of the value's own
    precision.
    """
    own = real_tensor(argument, value)
    if (own < 0).any() or (own > torch.tensor(math.pi, dtype=own.dtype)).any():
        raise bad(
            argument,
            f"{own.min().item():g} to {own.max().item():g}",
            "between 0 and pi",
        )
    return own.to(torch.float64).clamp_max(math.pi)  # pi in float32 is greater than pi


def shape(argument: str, value: object) -> tuple[int, ...]:
    """`value` as a shape: a tuple of sizes."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise bad(argument, repr(value), "a tuple of integers")
    return tuple(count(argument, size, 0) for size in value)


def number_or_shape(argument: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless `tensor` is a number or of shape `shape`."""
    if tensor.ndim and tuple(tensor.shape) != tuple(shape):
        raise bad(
            argument,
            f"of shape {tuple(tensor.shape)}",
            f"a number or of shape {tuple(shape)}",
        )


def last_dimension(argument: str, tensor: Tensor, d: int) -> Tensor:
    """`tensor` if it is (..., d)."""
    if tensor.ndim < 1 or tensor.shape[-1] != d:
        raise bad(argument, f"of shape {tuple(tensor.shape)}", f"of shape (..., {d})")
    return tensor


def symmetric(argument: str, value: object) -> Tensor:
    """`value` as a batch of symmetric matrices (..., d, d)."""
    matrix = real_tensor(argument, value)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise bad(
            argument, f"of shape {tuple(matrix.shape)}", "square, of shape (..., d, d)"
        )
    asymmetry = (matrix - matrix.mT).abs()
    if (asymmetry > _slack(matrix)[..., None, None]).any():
        raise bad(argument, f"asymmetric by {asymmetry.max().item():.3g}", "symmetric")
    return matrix


def covariance(argument: str, value: object) -> Tensor:
    """`value` as a batch of symmetric positive semi-definite matrices (..., d, d)."""
    matrix = symmetric(argument, value)
    lowest = torch.linalg.eigvalsh(matrix)[..., 0]
    if (lowest < -_slack(matrix)).any():
        raise bad(
            argument,
            f"indefinite, with the eigenvalue {lowest.min().item():.3g}",
            "positive semi-definite",
        )
    return matrix


def _slack(matrix: Tensor) -> Tensor:
    """What rounding may do to entries and eigenvalues of matrices (..., d, d)."""
    size = matrix.abs().amax(dim=(-2, -1))
    return 100 * torch.finfo(matrix.dtype).eps * matrix.shape[-1] * size
