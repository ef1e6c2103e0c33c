"""A sweep in this process against one on Dask workers, of one and of two processes with
a thread each.
"""

import math
import os
import tempfile
from itertools import count
from pathlib import Path

from distributed import LocalCluster

from agent_dynamics.sweeps import PairCell, measure_pairs, run_sweep
from agent_dynamics.training import TrainingConfig, cached_lsa

from .timing import ratio, side_by_side, spread

CELLS, PAIRS = 12, 1_000


def run() -> dict[str, object]:
    layer = TrainingConfig(5, 0, steps=200, evaluate_every=200)
    cells = [
        PairCell(layer, 10.0, math.pi / 8, 5, PAIRS, seed) for seed in range(CELLS)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as one,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as two,
    ):
        cached_lsa(layer)
        number = count()

        def sweep(address: str | None) -> None:
            if address:
                os.environ["DASK_SCHEDULER_ADDRESS"] = address
            try:
                run_sweep(measure_pairs, cells, Path(folder) / str(next(number)))
            finally:
                os.environ.pop("DASK_SCHEDULER_ADDRESS", None)

        times = side_by_side(
            {
                "here": lambda: sweep(None),
                "one worker": lambda: sweep(one.scheduler_address),
                "two workers": lambda: sweep(two.scheduler_address),
            }
        )
    return {
        "cells": CELLS,
        "pairs": PAIRS,
        "seconds": {name: spread(values) for name, values in times.items()},
        "two_against_one": ratio(times["one worker"], times["two workers"]),
        "overhead": spread(times["one worker"] / times["here"] - 1),
        "goals": {},
    }
