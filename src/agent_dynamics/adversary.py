"""One-sided convergence: who reaches its target, and how to write a prompt that does.

Given rho(A B) < 1, W ends at its target if and only if A (I - B) Delta = 0, and then U
is left with e_U = -B Delta (:prf:ref:`thm-one-sided`). A prompt of W with the
eigenvalue 1 / eta_W along q = S_U Delta / ||S_U Delta|| gets there, since A q = 0; and
q is what a single query of U's agent returns (:prf:ref:`thm-query`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from . import _checks
from .agents import AffineAgent, batch_of
from .linear import eye
from .prompts import Prompt, prompt_with_covariance

# A reply that moves the query by less than this, relative to its norm or to 1, tells
# nothing.
SILENT_REPLY = 1e-12


@dataclass(frozen=True, eq=False)
class OneSided:
    """By how much each agent misses the condition to reach its own target, relative to
    the gap.

    Attributes:
        miss_w: ||A (I - B) Delta|| / ||Delta||, zero where W reaches its target, shape
            (...).
        miss_u: ||B (I - A) Delta|| / ||Delta||, zero where U reaches its target, shape
            (...).
    """

    miss_w: Float[Tensor, "*batch"]
    miss_u: Float[Tensor, "*batch"]

    def winner(self, tolerance: float = 1e-12) -> np.ndarray | np.str_:
        """Who misses by at most `tolerance`: "w", "u", "both" or "neither", an array of
        shape (...), a string for one pair.

        With "both", each agent hits its own target at every turn of its own: the
        messages have period 2.
        """
        tolerance = _checks.finite_number("tolerance", tolerance, above=0)
        reached = (self.miss_w <= tolerance).int() + 2 * (
            self.miss_u <= tolerance
        ).int()
        return np.array(["neither", "w", "u", "both"])[reached.cpu().numpy()]


def one_sided(agent_w: AffineAgent, agent_u: AffineAgent) -> OneSided:
    """Whether the exchange ends one-sided, read off one round from each target.

    A round moves w* by T_W(T_U(w*)) - w* = A (I - B) Delta, so W stays at its target
    exactly where the condition of :prf:ref:`thm-one-sided` holds. An exchange that
    converges, rho(A B) < 1, then ends there. Otherwise the miss says how far from it
    (:prf:ref:`prop-miss`).

    Raises:
        ValueError: agents whose shapes do not match, or that share a target.
    """
    w, u = agent_w.target, agent_u.target
    _checks.last_dimension("agent_u's target", u, w.shape[-1])
    _checks.broadcast_shapes(agent_w=batch_of(agent_w), agent_u=batch_of(agent_u))
    gap = torch.linalg.vector_norm(u - w, dim=-1)
    if (gap == 0).any():
        raise _checks.bad(
            "agents", "a pair with one target", "a pair with different targets"
        )
    return OneSided(
        torch.linalg.vector_norm(agent_w(agent_u(w)) - w, dim=-1) / gap,
        torch.linalg.vector_norm(agent_u(agent_w(u)) - u, dim=-1) / gap,
    )


def query_attack_direction(
    victim: Callable[[Tensor], Tensor], target: Float[Tensor, "... d"]
) -> Float[Tensor, "... d"]:
    """The direction to attack: send the own target, and normalise what the reply adds.

    A gradient agent with geometry S_U answers w* with w* + eta_U S_U Delta, so one
    query is enough (:prf:ref:`thm-query`).

    Args:
        victim: the other agent, message in, message out.
        target: the attacker's own target w*, shape (..., d).

    Returns:
        q, of norm 1, shape (..., d).

    Raises:
        ValueError: a reply that equals the query up to rounding: the victim is blind to
            the gap (and W wins without an attack) or has the same target.
    """
    target = _checks.real_tensor("target", target)
    moved = victim(target) - target
    norm = torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
    silent = max(SILENT_REPLY, 10 * torch.finfo(target.dtype).eps)
    if (
        norm
        <= silent * torch.linalg.vector_norm(target, dim=-1, keepdim=True).clamp_min(1)
    ).any():
        raise _checks.bad(
            "victim",
            "unmoved by the target",
            "an agent whose reply differs from the query",
        )
    return moved / norm


def attack_prompt(
    direction: Float[Tensor, "*#batch d"],
    step_size: float | Float[Tensor, "*#batch"],
    target: Float[Tensor, "*#batch d"],
    n: int,
    *,
    elsewhere: float | Float[Tensor, "*#batch"],
    generator: torch.Generator,
) -> Prompt:
    """A prompt whose gradient step forgets `direction`: its covariance has the
    eigenvalue 1 / step_size there.

    Args:
        direction: q, of any norm but zero, shape (..., d).
        step_size: eta_W of the agent that will hold the prompt; a float or a tensor of
            the leading shape.
        target: the attacker's target w*, shape (..., d).
        n: number of examples, at least d.
        elsewhere: the eigenvalue on the complement of q, positive and below 2 /
            step_size; a float or a tensor of the leading shape.
        generator: source of the examples' random rotation.

    Raises:
        ValueError: a direction that is zero, a step size or an eigenvalue that is not
            positive, a step that is not stable, fewer than d examples, shapes that do
            not match.
    """
    direction = _checks.real_tensor("direction", direction)
    norm = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
    if direction.ndim < 1 or (norm == 0).any():
        raise _checks.bad(
            "direction",
            "zero or a number",
            "a vector other than zero, of shape (..., d)",
        )
    step_size = _checks.positive("step_size", step_size, like=direction)
    elsewhere = _checks.positive("elsewhere", elsewhere, like=direction)
    _checks.broadcast_shapes(
        direction=direction.shape[:-1],
        step_size=step_size.shape,
        elsewhere=elsewhere.shape,
    )
    stiffness = elsewhere * step_size
    if (stiffness >= 2).any():
        raise _checks.bad(
            "elsewhere",
            f"{stiffness.max().item():g} / step_size",
            "below 2 / step_size",
        )
    q = direction / norm
    identity = eye(q)
    along = q.unsqueeze(-1) * q.unsqueeze(-2)
    covariance = along / step_size[..., None, None] + elsewhere[..., None, None] * (
        identity - along
    )
    return prompt_with_covariance(covariance, target, n, generator=generator)
