"""All messages of many pairs: `interact` against the loop that one would write first,
and against the memory.
"""

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from agent_dynamics.agents import GradientAgent
from agent_dynamics.interaction import interact
from agent_dynamics.prompts import Prompt

from .peers import with_jax, with_scipy
from .timing import goal, ratio, side_by_side, slope, spread

PAIRS, D, TURNS = 100_000, 8, 100
# Pairs that the loop is run on: its time grows with their number, so the rest is a
# factor.
LOOPED = 100
AT_ONCE = 2_000  # pairs a part of a million


def draw(
    pairs: int, d: int = D, seed: int = 1
) -> tuple[list[GradientAgent], torch.Tensor]:
    """Random pairs with 2d examples a prompt, stable steps, and starts."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    agents = []
    for _ in range(2):
        agents.append(
            GradientAgent(Prompt(normal(pairs, 2 * d, d), normal(pairs, d)), 0.2)
        )
    return agents, normal(pairs, d)


def loop(agents: list[GradientAgent], start: torch.Tensor, turns: int) -> np.ndarray:
    """The first version that comes to mind: for each pair, turn after turn, the two
    formulas.
    """
    (s_w, t_w), (s_u, t_u) = (
        (agent.prompt.covariance.numpy(), agent.target.numpy()) for agent in agents
    )
    eta_w, eta_u = (agent.step_size.expand(len(start)).numpy() for agent in agents)
    messages = np.empty((len(start), 2 * turns + 1, start.shape[-1]))
    for i in range(len(start)):
        u = messages[i, 0] = start[i].numpy()
        for turn in range(turns):
            w = u - eta_w[i] * s_w[i] @ (u - t_w[i])
            u = w - eta_u[i] * s_u[i] @ (w - t_u[i])
            messages[i, 2 * turn + 1], messages[i, 2 * turn + 2] = w, u
    return messages


def step_by_step(
    agents: list[GradientAgent], start: torch.Tensor, turns: int
) -> torch.Tensor:
    """All pairs at once, but turn after turn: what agents that are only asked for
    replies need.
    """
    return interact(lambda turn: agents, start, turns).messages


def copy(messages: torch.Tensor) -> torch.Tensor:
    """What writing the result takes at least."""
    return torch.from_numpy(np.empty(messages.shape)).copy_(messages)


def run() -> dict[str, object]:
    agents, start = draw(PAIRS)
    few, few_starts = [agent[:LOOPED] for agent in agents], start[:LOOPED]
    messages = interact(agents, start, TURNS).messages
    gigabytes = messages.nbytes / 1e9
    times = side_by_side(
        {
            "loop": lambda: loop(few, few_starts, TURNS),
            "scipy": lambda: with_scipy(few, few_starts, TURNS),
            "interact": lambda: interact(agents, start, TURNS),
            "copy": partial(copy, messages),
        }
    )
    del messages
    # On their own: what comes after them runs slower here.
    turns = side_by_side(
        {
            "interact": lambda: interact(agents, start, TURNS),
            "turn by turn": lambda: step_by_step(agents, start, TURNS),
        }
    )
    compiled = (
        side_by_side(
            {
                "interact": lambda: interact(agents, start, TURNS),
                "jax": lambda: with_jax(agents, start, TURNS),
            }
        )
        if with_jax is not None
        else None
    )
    for name in ("loop", "scipy"):
        times[name] *= PAIRS / LOOPED
    against_loop = ratio(times["loop"], times["interact"])
    of_limit = ratio(times["copy"], times["interact"])
    return {
        "pairs": PAIRS,
        "d": D,
        "turns": TURNS,
        "looped": LOOPED,
        "gigabytes": gigabytes,
        "threads": torch.get_num_threads(),
        "seconds": {name: spread(values) for name, values in times.items()}
        | {"turn by turn": spread(turns["turn by turn"])}
        | ({"jax": spread(compiled["jax"])} if compiled else {}),
        "copy_bandwidth": spread(gigabytes / times["copy"]),
        "against_loop": against_loop,
        "against_scipy": ratio(times["scipy"], times["interact"]),
        "against_jax": ratio(compiled["jax"], compiled["interact"])
        if compiled
        else None,
        "of_limit": of_limit,
        "against_turn_by_turn": ratio(turns["turn by turn"], turns["interact"]),
        "growth": growth(),
        "million": million(),
        "goals": {
            "times the loop": goal(against_loop["median"], at_least=200),
            "share of the write limit": goal(of_limit["median"], at_least=0.6),
        },
    }


def growth() -> dict[str, dict[str, object]]:
    """Seconds against pairs, d and turns, one varied at a time, and the exponents."""
    grown = {}
    for name, sizes, size_of in (
        ("pairs", [2_500, 10_000, 40_000], lambda n: (n, D, TURNS)),
        ("d", [8, 16, 32, 64], lambda d: (2_000, d, TURNS)),
        ("turns", [50, 200, 800], lambda turns: (5_000, D, turns)),
    ):
        ways = {}
        for size in sizes:
            pairs, d, turns = size_of(size)
            agents, start = draw(pairs, d)
            ways[str(size)] = lambda agents=agents, start=start, turns=turns: interact(
                agents, start, turns
            )
        seconds = [spread(values)["median"] for values in side_by_side(ways).values()]
        grown[name] = {
            "sizes": sizes,
            "seconds": seconds,
            "exponent": slope(sizes, seconds),
        }
    return grown


def million(pairs: int = 1_000_000) -> dict[str, float]:
    """The mean last errors of a million pairs, part by part, in a process of its own:
    time and peak memory.
    """
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        return pool.submit(_million, pairs).result()


def _million(pairs: int) -> dict[str, float]:
    agents, start = draw(pairs)
    before, began, total = _peak(), time.perf_counter(), 0
    for first in range(0, pairs, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        errors = interact(
            [agent[part] for agent in agents], start[part], TURNS
        ).errors()
        total = total + errors[:, -1].sum(0)
    return {
        "pairs": pairs,
        "at_once": AT_ONCE,
        "seconds": time.perf_counter() - began,
        "agents_gigabytes": before,
        "peak_gigabytes": _peak(),
        "all_messages_gigabytes": pairs * (2 * TURNS + 1) * D * 8 / 1e9,
        "mean_errors": (total / pairs).tolist(),
    }


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
