"""python -m benchmarks [PART ...]: run the comparisons, all of them without arguments.

Each part's result is written when it is done, beside those of the other parts: an
interruption keeps the finished ones.
"""

import json
import logging
import os
import sys
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PARTS = ("simulation", "equilibria", "training", "sweeps", "explorables", "build")


def main(parts: list[str]) -> None:
    unknown = set(parts) - set(PARTS)
    if unknown:
        sys.exit(f"ONLY was '{' '.join(parts)}'; it must be among {', '.join(PARTS)}")
    os.environ["AGENT_DYNAMICS_CACHE"] = str(ROOT / "_build" / "bench" / "cache")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    # Imports torch, which a wrong ONLY need not wait for.
    from agent_dynamics.cache import written_whole

    from .machine import machine

    for part in parts or PARTS:
        print(f"measuring: {part}", flush=True)
        began = time.perf_counter()
        result = import_module(f".{part}", __package__).run()
        result |= {"took": time.perf_counter() - began, "machine": machine()}
        for name, goal in result["goals"].items():
            bound = (
                f"at least {goal['at_least']:g}"
                if goal["at_most"] is None
                else f"at most {goal['at_most']:g}"
            )
            print(
                f"  {name}: {goal['measured']:.3g}, goal {bound}: "
                f"{'met' if goal['met'] else 'missed'}"
            )
        results = (
            json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        ) | {part: result}
        with written_whole(RESULTS) as partial:
            partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {RESULTS.relative_to(ROOT)}, which the page shows")


if __name__ == "__main__":
    main(sys.argv[1:])
