"""A helper of limited reach that plans: the main agent's turns do the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import _checks
from ._steering import Helper
from .agents import AffineAgent, batch_of
from .linear import apply, eye, negligible
from .prompts import Prompt


def can_arrive(
    agent_w: AffineAgent, inputs: Float[Tensor, "... n d"]
) -> Bool[Tensor, "..."]:
    """Whether a helper with these examples can bring the main agent to its target.

    Each turn makes an error e into A (e + x), with x free in the range of S_U. So it
    can, from every start and in at most d of its turns, if and only if no eigenvector
    of S_W with eta_W s other than 1 lies in the kernel of S_U: Hautus's condition
    (:prf:ref:`thm-planning`). An eigenvector that is 1e-12 from that kernel counts as
    in it.

    Args:
        agent_w: the main agent.
        inputs: the helper's examples X_U, shape (..., n, d).

    Returns:
        Shape (...): the leading shape of the pairs.

    Raises:
        ValueError: inputs that make no prompt of the main agent's dimension; leading
            shapes that do not match.
    """
    turn, _ = agent_w.affine()
    inputs = _checks.real_tensor("inputs", inputs, like=turn)
    geometry = Prompt(inputs, inputs.new_zeros(inputs.shape[-1:])).covariance
    _checks.last_dimension("inputs", inputs, turn.shape[-1])
    _checks.broadcast_shapes(agent_w=batch_of(agent_w), inputs=inputs.shape[:-2])
    reach = geometry @ torch.linalg.pinv(
        geometry, rtol=negligible(geometry), hermitian=True
    )
    kept = torch.linalg.eigvals(turn)  # what a turn keeps of an error, (..., d)
    pencil = turn.unsqueeze(-3) - kept[..., None, None] * eye(turn)
    columns = torch.broadcast_tensors(pencil, reach.unsqueeze(-3).to(pencil.dtype))
    seen = torch.linalg.svdvals(torch.cat(columns, dim=-1))[..., -1]
    return ((seen > negligible(turn)) | (kept.abs() <= negligible(turn))).all(dim=-1)


class PlanningHelper(Helper):
    """A helper that brings the main agent to its target in a given number of turns.

    Of all pushes within its reach that do so it takes those with the least sum of
    squared lengths, and makes the plan anew each turn from where the main agent is. The
    main agent's answer to its message of turn `turns` is w* where `can_arrive` holds
    and there are d turns or more (:prf:ref:`thm-planning`); elsewhere it comes as near
    as it can. After those turns it plans one turn at a time.

    Args:
        inputs: the helper's own examples X_U, shape (..., n, d).
        actor: makes the helper's agent of a prompt, e.g. `lambda prompt:
            GradientAgent(prompt, 0.5)`.
        main_agent: whom it helps; it knows the map and the target.
        turns: of its own until it arrives, at least 1.

    Raises:
        ValueError: inputs that make no prompt of the main agent's dimension; fewer than
            one turn.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "... n d"],
        actor: Callable[[Prompt], AffineAgent],
        main_agent: AffineAgent,
        turns: int,
    ) -> None:
        super().__init__(inputs, actor)
        self._goal = main_agent.target
        turn, _ = main_agent.affine()
        _checks.last_dimension("inputs", self._inputs, turn.shape[-1])
        _checks.broadcast_shapes(
            main_agent=batch_of(main_agent), inputs=self._inputs.shape[:-2]
        )
        self._gains = _gains(turn, self.reach, _checks.count("turns", turns))

    def _wanted(self, message: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        gain = self._gains.pop() if len(self._gains) > 1 else self._gains[0]
        return message + apply(gain, message - self._goal)


def _gains(
    turn: Float[Tensor, "*#batch d d"], reach: Float[Tensor, "*#batch d d"], turns: int
) -> list[Float[Tensor, "*batch d d"]]:
    """K_1, ..., K_turns: with m turns to go the least plan begins with the push K_m e.

    The pushes x_1, ..., x_m leave A^m e + A^m x_1 + ... + A x_m of an error e.
    """
    gains, effect, power = [], turn[..., :0], eye(turn)
    for _ in range(turns):
        power = power @ turn
        later = effect.expand(*(power @ reach).shape[:-1], effect.shape[-1])
        effect = torch.cat([power @ reach, later], dim=-1)
        plan = torch.linalg.pinv(effect, rtol=negligible(turn)) @ power
        gains.append(-plan[..., : turn.shape[-1], :])
    return gains
