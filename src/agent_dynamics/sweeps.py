"""Sweeps: many cells of a grid, measured one at a time, locally or on a Dask cluster.

A cell is a frozen dataclass: all that determines its result, random draws included. So
a sweep can be cut short, resumed, reordered or spread over machines, and its numbers
stay the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import matrix_norm, vector_norm
from tqdm import tqdm

from . import _checks
from ._cells import Cell, digest, here, on_cluster
from ._extras import extra
from .agents import GradientAgent
from .cache import written_whole
from .equilibrium import equilibrium
from .linear import apply, eye, solve
from .lsa import LSAAgent
from .prompts import (
    prompt_with_covariance,
    random_covariance,
    target_pair,
    turned_covariance,
)
from .training import TrainingConfig, cached_lsa

with extra("sweeps"):
    import pandas as pd

STEPS = (0.1, 1.9)  # eta lambda_max of the random pairs
ANGLES = (0.1 * math.pi, math.pi)
# Newton steps to a measured limit, and the last one's largest relative size.
CORRECTIONS, AT_REST = 10, 1e-9


def run_sweep(
    function: Callable[[Cell], pd.DataFrame],
    cells: Sequence[Cell],
    folder: str | Path,
) -> pd.DataFrame:
    """Measure every cell, keep each result as a file, and return them as one table in
    the order of the cells.

    Without more, the cells are measured one after the other in this process, so memory
    holds one cell at a time. Where the environment variable DASK_SCHEDULER_ADDRESS is
    set they go to that cluster instead. Its workers need this package, and what they
    train they keep in their own cache. Cells of a worker that is lost go to another.
    Both ways give the same numbers on machines of one kind: a cell runs on one thread.

    Each result is written as it comes, as one Parquet file named after the function and
    the cell. Cells with a file are not measured again: give another folder when the
    function has changed.

    Args:
        function: measures one cell; has a name, by which its results are found again,
            and is defined in a module that the workers can import too.
        cells: frozen dataclasses, all different.
        folder: where the files go.

    Raises:
        ValueError: a function without a name, no cells, cells that are no frozen
            dataclasses, two equal cells.
        Exception: what the function raised; the cells finished before are kept.
    """
    if getattr(function, "__name__", "<lambda>") == "<lambda>":
        raise _checks.bad("function", repr(function), "a function with a name")
    if not cells:
        raise _checks.bad("cells", "empty", "at least one cell")
    for cell in cells:
        frozen = is_dataclass(cell) and cell.__dataclass_params__.frozen  # type: ignore[attr-defined]
        if not frozen:
            raise _checks.bad("cells", f"with {cell!r}", "frozen dataclasses")
    if len(set(cells)) < len(cells):
        raise _checks.bad("cells", "with two that are equal", "all different")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {cell: folder / f"{digest(function, cell)}.parquet" for cell in cells}
    missing = [cell for cell, path in paths.items() if not path.exists()]
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    results = (
        on_cluster(function, missing, address) if address else here(function, missing)
    )
    with tqdm(
        total=len(cells),
        initial=len(cells) - len(missing),
        unit="cell",
        desc=function.__name__,
    ) as bar:
        for cell, result in results:
            with written_whole(paths[cell]) as partial:
                result.to_parquet(partial)
            bar.update()
    return pd.concat(map(pd.read_parquet, paths.values()), ignore_index=True)


@dataclass(frozen=True)
class PairCell:
    """Random pairs of one kind, whose agents use one trained layer.

    Targets have norm 1, an angle uniform in ANGLES and a random orientation. Each
    agent's step size times its largest eigenvalue is uniform in STEPS.

    Attributes:
        layer: the training of both agents' layer.
        condition_number: of both geometries, the largest over the smallest non-zero
            eigenvalue.
        orientation: radians by which U's geometry is turned from W's
            (`prompts.turned_covariance`), from 0, where the two commute, to pi / 2,
            where they commute with reversed spectra.
        rank: of both geometries, from d / 2 to d.
        pairs: how many to draw; they are in memory together.
        seed: tells cells that agree in all else apart.
    """

    layer: TrainingConfig
    condition_number: float
    orientation: float
    rank: int
    pairs: int
    seed: int = 0

    def __post_init__(self) -> None:
        d = self.layer.dimension
        for name, least in (("pairs", 1), ("seed", 0), ("rank", 1)):
            _checks.keep(self, name, _checks.count(name, getattr(self, name), least))
        for name in ("condition_number", "orientation"):
            _checks.keep(self, name, _checks.finite_number(name, getattr(self, name)))
        if self.condition_number < 1:
            raise _checks.bad("condition_number", self.condition_number, "at least 1")
        if 2 * self.rank < d or self.rank > d:
            raise _checks.bad(
                "rank", self.rank, f"between half the dimension {d} and the dimension"
            )
        if not 0 <= self.orientation <= math.pi / 2:
            raise _checks.bad("orientation", self.orientation, "between 0 and pi / 2")
        if self.rank < d and self.orientation == 0:
            raise _checks.bad(
                "orientation",
                self.orientation,
                "positive where the rank is below the dimension, "
                "or the two kernels would meet",
            )


def draw_pairs(
    cell: PairCell,
) -> tuple[tuple[GradientAgent, GradientAgent], tuple[LSAAgent, LSAAgent]]:
    """The cell's pairs (W, U), as exact gradient agents and as trained agents, each a
    batch of `cell.pairs`.
    """
    d, step_size, shape = cell.layer.dimension, cell.layer.step_size, (cell.pairs,)
    generator = torch.Generator().manual_seed(int(digest(cell)[:15], 16))

    def uniform(low: float, high: float) -> Float[Tensor, " pairs"]:
        return low + (high - low) * torch.rand(
            *shape, generator=generator, dtype=torch.float64
        )

    targets = target_pair(d, uniform(*ANGLES), shape=shape, generator=generator)
    geometry = random_covariance(
        d, cell.condition_number, rank=cell.rank, shape=shape, generator=generator
    )
    prompt_w, prompt_u = (
        prompt_with_covariance(
            uniform(*STEPS)[:, None, None] / step_size * s,
            target,
            cell.layer.examples,
            generator=generator,
        )
        for s, target in zip(
            (geometry, turned_covariance(geometry, cell.orientation)),
            targets,
            strict=True,
        )
    )
    model = cached_lsa(cell.layer).model
    return (
        (GradientAgent(prompt_w, step_size), GradientAgent(prompt_u, step_size)),
        (LSAAgent(model, prompt_w), LSAAgent(model, prompt_u)),
    )


def measure_pairs(cell: PairCell) -> pd.DataFrame:
    """Where the cell's pairs should settle and where they do, one row a pair.

    The prediction is the closed form of exact gradient agents. The measured limit is
    the fixed point of the trained agents' round, found by Newton's iteration with the
    maps that d + 1 forward passes measure (`LSAAgent.affine`). It is where the exchange
    settles also for layers that are not quite affine, those that have not yet learned
    to ignore earlier messages.

    Returns:
        The cell's fields and those of its layer (prefix `layer_`); `angle`; `step_w`
        and `step_u`, the step size times the largest eigenvalue; `rate`, the spectral
        radius rho(A B); `amplification`, the norm of (I - A B)^{-1}; and for each agent
        `plateau_`, as predicted, `relative_error_`, the distance of the measured error
        vector from the predicted one over the plateau, and `expected_error_`, the same
        to first order, as the misses of one turn at the predicted limit give it
        (:prf:ref:`prop-grid-miss`). `learned_rate` is the spectral radius of the
        learned round. Where it is 1 or more, or the iteration does not come to rest,
        the relative errors are NaN.
    """
    exact, trained = draw_pairs(cell)
    limit = equilibrium(*exact)
    (A, _), (B, _) = (agent.affine() for agent in exact)
    (learned_A, learned_a), (learned_B, learned_b) = (
        agent.affine() for agent in trained
    )
    identity = eye(A)
    inverse = torch.linalg.inv(identity - learned_A @ learned_B)
    w = apply(inverse, apply(learned_A, learned_b) + learned_a)
    for _ in range(CORRECTIONS):
        correction = apply(inverse, trained[0](trained[1](w)) - w)
        w = w + correction
    u = trained[1](w)
    learned_rate = torch.linalg.eigvals(learned_A @ learned_B).abs().amax(-1)
    rests = vector_norm(correction, dim=-1) <= AT_REST * vector_norm(w, dim=-1)
    settles = torch.where((learned_rate < 1) & rests, 1.0, torch.nan)

    miss_w, miss_u = (
        trained[0](limit.u) - exact[0](limit.u),
        trained[1](limit.w) - exact[1](limit.w),
    )
    shift_w = solve(identity - A @ B, miss_w + apply(A, miss_u))
    cosine = (exact[0].target * exact[1].target).sum(-1).clamp(-1, 1)
    columns = {
        "angle": cosine.acos(),
        "rate": limit.rate,
        "learned_rate": learned_rate,
        "amplification": 1 / matrix_norm(identity - A @ B, -2),
    }
    for name, agent, error, measured, shift in (
        ("w", exact[0], limit.error_w, w - limit.w, shift_w),
        ("u", exact[1], limit.error_u, u - limit.u, apply(B, shift_w) + miss_u),
    ):
        plateau = vector_norm(error, dim=-1)
        columns |= {
            f"step_{name}": agent.step_size
            * torch.linalg.eigvalsh(agent.prompt.covariance)[..., -1],
            f"plateau_{name}": plateau,
            f"relative_error_{name}": settles * vector_norm(measured, dim=-1) / plateau,
            f"expected_error_{name}": vector_norm(shift, dim=-1) / plateau,
        }
    fields = asdict(cell)
    layer = {f"layer_{name}": value for name, value in fields.pop("layer").items()}
    return pd.DataFrame(
        {
            **layer,
            **fields,
            **{name: column.numpy() for name, column in columns.items()},
        }
    )


def measure_training(config: TrainingConfig) -> pd.DataFrame:
    """How a training went, in one row: its configuration, `steps_taken` and the last
    `operator_error`.
    """
    history = cached_lsa(config).history
    last = {
        "steps_taken": int(history["step"][-1]),
        "operator_error": history["operator_error"][-1].item(),
    }
    return pd.DataFrame([{**asdict(config), **last}])
