"""The line search of Newton steps that may overshoot."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

HALVINGS = 60  # of a step that overshoots


def shortened(
    loss: Callable[[Tensor], Tensor],
    v: Float[Tensor, "*#batch d"],
    gradient: Float[Tensor, "*#batch d"],
    step: Float[Tensor, "*#batch d"],
) -> Float[Tensor, "*batch d"]:
    """The first of a step, its half, its quarter, ... that lowers the loss by Armijo's
    rule, up to rounding.

    Armijo's rule asks for a ten-thousandth of the fall that the slope promises.

    Args:
        loss: (..., d) to (...).
        v: where the step begins, shape (..., d).
        gradient: of the loss at v, shape (..., d).
        step: a direction of descent, shape (..., d).
    """
    slope, before = (gradient * step).sum(-1), loss(v)
    share = torch.ones_like(slope)
    for _ in range(HALVINGS):
        bound = (
            before + 1e-4 * share * slope + 4 * torch.finfo(v.dtype).eps * before.abs()
        )
        fails = ~(loss(v + share.unsqueeze(-1) * step) <= bound)
        if not fails.any():
            break
        share = torch.where(fails, share / 2, share)
    return share.unsqueeze(-1) * step
