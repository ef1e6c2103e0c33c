"""python -m benchmarks [PART ...]: run the comparisons, all of them without arguments.

Each part's result is written and merged when it is done, so an interruption keeps the finished ones.
"""

import json
import logging
import os
import sys
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "_build" / "bench"
PARTS = ("simulation", "equilibria", "training", "sweeps", "explorables", "build")


def main(parts: list[str]) -> None:
    unknown = set(parts) - set(PARTS)
    if unknown:
        sys.exit(f"ONLY was '{' '.join(parts)}'; it must be among {', '.join(PARTS)}")
    os.environ["AGENT_DYNAMICS_CACHE"] = str(FOLDER / "cache")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    from .machine import machine  # imports torch, which a wrong ONLY need not wait for

    (FOLDER / "parts").mkdir(parents=True, exist_ok=True)
    for part in parts or PARTS:
        print(f"measuring: {part}", flush=True)
        began = time.perf_counter()
        result = import_module(f".{part}", __package__).run()
        result |= {"took": time.perf_counter() - began, "machine": machine()}
        _write(FOLDER / "parts" / f"{part}.json", result)
        for name, goal in result["goals"].items():
            bound = f"at least {goal['at_least']:g}" if goal["at_most"] is None else f"at most {goal['at_most']:g}"
            print(f"  {name}: {goal['measured']:.3g}, goal {bound}: {'met' if goal['met'] else 'missed'}")
        _merge()
    print("written: _build/bench/results.json, and benchmarks/results.json, which the page shows")


def _merge() -> None:
    """One file of all parts measured so far, now or before."""
    files = {part: FOLDER / "parts" / f"{part}.json" for part in PARTS}
    results = {part: json.loads(file.read_text(encoding="utf-8")) for part, file in files.items() if file.exists()}
    _write(FOLDER / "results.json", results)
    _write(ROOT / "benchmarks" / "results.json", results)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
