"""Timing side by side: the ways to do one thing take turns, so that a slow moment meets
them all.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

RUNS = 7


def side_by_side(
    ways: Mapping[str, Callable[[], object]], *, runs: int = RUNS
) -> dict[str, np.ndarray]:
    """Seconds of each run of each way, shape (runs,), after one run of each that does
    not count.
    """
    seconds = {name: [] for name in ways}
    for run in tqdm(range(runs + 1), leave=False, unit="run", desc=", ".join(ways)):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if run:
                seconds[name].append(time.perf_counter() - began)
    return {name: np.array(times) for name, times in seconds.items()}


def spread(values: np.ndarray | list[float]) -> dict[str, float]:
    """The median and the quartiles of the runs."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {
        "median": float(median),
        "low": float(low),
        "high": float(high),
        "runs": len(values),
    }


def ratio(slow: np.ndarray, fast: np.ndarray) -> dict[str, float]:
    """How many times faster, run by run."""
    return spread(slow / fast)


def slope(sizes: list[float], seconds: list[float]) -> float:
    """The exponent of growth: the slope of the line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def goal(
    measured: float, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, object]:
    """A goal with what was measured, and whether it is met."""
    met = measured >= at_least if at_most is None else measured <= at_most
    return {
        "measured": measured,
        "at_least": at_least,
        "at_most": at_most,
        "met": bool(met),
    }
