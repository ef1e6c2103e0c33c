"""The exchange as users of SciPy and of JAX would write it, for comparison.

JAX is installed by make bench alone; without it its function is None.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from scipy.signal import dlsim

from agent_dynamics.agents import GradientAgent

Way = Callable[[list[GradientAgent], torch.Tensor, int], np.ndarray]


def maps(agents: list[GradientAgent]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each agent's turn v -> M v + c, M (pairs, d, d) and c (pairs, d)."""
    return [
        (matrix.numpy(), shift.numpy())
        for matrix, shift in (agent.affine() for agent in agents)
    ]


def with_scipy(
    agents: list[GradientAgent], start: torch.Tensor, turns: int
) -> np.ndarray:
    """A discrete linear system for each pair: the round is its state, and both
    agents' messages its output.
    """
    (A, a), (B, b) = maps(agents)
    pairs, d = start.shape
    sent = np.empty((pairs, 2 * turns + 1, d))
    ones = np.ones((turns, 1))
    for i in range(pairs):
        round_, shift = B[i] @ A[i], B[i] @ a[i] + b[i]
        system = (
            round_,
            shift[:, None],
            np.vstack([A[i], round_]),
            np.concatenate([a[i], shift])[:, None],
            1.0,
        )
        _, both, _ = dlsim(system, ones, x0=start[i].numpy())
        sent[i, 0], sent[i, 1:] = start[i], both.reshape(-1, d)
    return sent


def _with_jax() -> Way | None:
    if find_spec("jax") is None:
        return None
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def exchange(
        w: tuple[jax.Array, jax.Array],
        u: tuple[jax.Array, jax.Array],
        start: jax.Array,
        turns: int,
    ) -> jax.Array:
        def turn(message: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            first = w[0] @ message + w[1]
            second = u[0] @ first + u[1]
            return second, jnp.stack([first, second])

        _, sent = jax.lax.scan(turn, start, None, length=turns)
        return jnp.concatenate([start[None], sent.reshape(-1, len(start))])

    batched = jax.jit(jax.vmap(exchange, in_axes=(0, 0, 0, None)), static_argnums=(3,))

    def way(agents: list[GradientAgent], start: torch.Tensor, turns: int) -> np.ndarray:
        w, u = maps(agents)
        return np.asarray(batched(w, u, start.numpy(), turns))

    return way


with_jax = _with_jax()
