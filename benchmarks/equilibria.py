"""Where many pairs settle: the closed form against a loop over pairs, and against
waiting until they have.
"""

import numpy as np
import torch

from agent_dynamics.agents import GradientAgent
from agent_dynamics.equilibrium import equilibrium
from agent_dynamics.interaction import settle

from .simulation import D, draw
from .timing import ratio, side_by_side, spread

PAIRS = 100_000
LOOPED = 1_000
TOLERANCE = 1e-12


def solve_loop(agents: list[GradientAgent]) -> np.ndarray:
    """w_inf of each pair by numpy.linalg.solve, and nothing else."""
    return np.array([np.linalg.solve(*system) for system in _systems(agents)])


def complete_loop(agents: list[GradientAgent]) -> tuple[np.ndarray, np.ndarray]:
    """w_inf of each pair, its rate, and a look for a shared kernel: what `equilibrium`
    finds.
    """
    limits, rates = [], []
    for matrix, offset in _systems(agents):
        identity = np.eye(len(offset))
        rates.append(np.abs(np.linalg.eigvals(identity - matrix)).max())
        limits.append(np.linalg.solve(matrix, offset))
        if np.linalg.svd(matrix, compute_uv=False)[-1] < 1e-12:
            raise ValueError("a shared kernel")
    return np.array(limits), np.array(rates)


def _systems(agents: list[GradientAgent]):
    """I - A B and A b + a of each pair, one after the other."""
    (s_w, t_w), (s_u, t_u) = (
        (agent.prompt.covariance.numpy(), agent.target.numpy()) for agent in agents
    )
    eta_w, eta_u = (agent.step_size.expand(len(s_w)).numpy() for agent in agents)
    identity = np.eye(s_w.shape[-1])
    for i in range(len(s_w)):
        A, B = identity - eta_w[i] * s_w[i], identity - eta_u[i] * s_u[i]
        yield identity - A @ B, A @ (t_u[i] - B @ t_u[i]) + t_w[i] - A @ t_w[i]


def run() -> dict[str, object]:
    agents, start = draw(PAIRS)
    few = [agent[:LOOPED] for agent in agents]
    times = side_by_side(
        {
            "closed form": lambda: equilibrium(*agents),
            "solve loop": lambda: solve_loop(few),
            "complete loop": lambda: complete_loop(few),
        }
    )
    waits = side_by_side(
        {
            "closed form": lambda: equilibrium(*few),
            "simulation": lambda: settle(few, start[:LOOPED], tolerance=TOLERANCE),
        }
    )
    for name in ("solve loop", "complete loop"):
        times[name] *= PAIRS / LOOPED
    return {
        "pairs": PAIRS,
        "d": D,
        "looped": LOOPED,
        "threads": torch.get_num_threads(),
        "seconds": {name: spread(values) for name, values in times.items()}
        | {"simulation": spread(waits["simulation"] * PAIRS / LOOPED)},
        "against_solve_loop": ratio(times["solve loop"], times["closed form"]),
        "against_complete_loop": ratio(times["complete loop"], times["closed form"]),
        "against_simulation": ratio(waits["simulation"], waits["closed form"]),
        "goals": {},
    }
