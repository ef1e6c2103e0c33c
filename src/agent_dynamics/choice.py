"""Agents that choose their step, and what both lose by choosing each for itself.

In one direction let a = 1 - eta_W lambda be what W's turn leaves of its error, and b
the same of U. W's cost is e_W^2 + mu r^2, with its own error e_W at the equilibrium and
the disagreement r = u_inf - w_inf that stays; that of U is the same with e_U
(:eq:`eq-choice-cost`). Costs are in proportion to the squared gap in the direction, so
no choice depends on it.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from . import _checks


def best_reply(
    mu: float | Float[Tensor, "*#batch"], other: float | Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """The cheapest a where the other agent keeps b: mu (1 - b) / (1 + mu (1 - b)).

    See :prf:ref:`thm-best-reply`.

    Args:
        mu: price of disagreement, at least 0, shape (...).
        other: b, between -1 and 1, shape (...).

    Returns:
        a = 1 - eta lambda, shape (...).

    Raises:
        ValueError: a negative mu, an `other` that is not between -1 and 1.
    """
    mu = _price(mu)
    b = _checks.real_tensor("other", other, like=mu)
    if (b.abs() >= 1).any():
        raise _checks.bad("other", f"up to {b.abs().max().item():g} in size", "below 1")
    _checks.broadcast_shapes(mu=mu.shape, other=b.shape)
    weight = mu * (1 - b)
    return weight / (1 + weight)


def nash_step(mu: float | Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The one a that is the best reply to itself: mu (1 - a)^2.

    In closed form [1 + 2 mu - sqrt(1 + 4 mu)] / (2 mu) (:prf:ref:`thm-price`).

    Args:
        mu: price of disagreement, at least 0, any shape.

    Returns:
        a = 1 - eta lambda of both agents, the shape of mu; 0 at mu = 0.

    Raises:
        ValueError: a negative mu.
    """
    mu = _price(mu)
    # The same fraction, rationalised: nothing cancels as mu goes to 0.
    return 2 * mu / (1 + 2 * mu + (1 + 4 * mu).sqrt())


def cooperative_step(mu: float | Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The a that both take to make the sum of their costs least: 2 mu / (1 + 2 mu).

    See :prf:ref:`thm-price`.

    Args:
        mu: price of disagreement, at least 0, any shape.

    Returns:
        a = 1 - eta lambda of both agents, the shape of mu.

    Raises:
        ValueError: a negative mu.
    """
    mu = _price(mu)
    return 2 * mu / (1 + 2 * mu)


def _price(mu: float | Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    value = _checks.real_tensor("mu", mu)
    if (value < 0).any():
        raise _checks.bad("mu", f"{value.min().item():g}", "at least 0")
    return value
