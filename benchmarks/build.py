"""The build of the book, fast profile, in a copy of the sources: cold, in parallel, and
again.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from .timing import RUNS, goal, ratio, spread

ROOT = Path(__file__).parents[1]
CHANGED = "05-angle.md"


def run() -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "book"
        shutil.copytree(
            ROOT,
            book,
            ignore=shutil.ignore_patterns("_build", ".venv", ".git", "__pycache__"),
        )
        (book / ".venv").symlink_to(ROOT / ".venv")

        def cold(jobs: int) -> float:
            shutil.rmtree(book / "_build", ignore_errors=True)
            # Matplotlib's list of fonts is part of the setup.
            shutil.copytree(
                ROOT / "_build" / "matplotlib", book / "_build" / "matplotlib"
            )
            return _make(book, "executed", f"-j{jobs}")

        cores = os.cpu_count() or 1
        seconds = {1: [], cores: []}
        for pair in range(RUNS):
            # Each way goes first in about half of the runs.
            for jobs in sorted(seconds, reverse=bool(pair % 2)):
                seconds[jobs].append(cold(jobs))
        serial, parallel = np.array(seconds[1]), np.array(seconds[cores])
        site = _make(book, "book")
        nothing = np.array([_make(book, "book") for _ in range(RUNS)])
        changed = []
        for _ in range(RUNS):
            with (book / "book" / CHANGED).open("a", encoding="utf-8") as chapter:
                chapter.write("\nOne more line.\n")
            changed.append(_make(book, "book"))
    whole, speedup = np.median(parallel) + site, ratio(serial, parallel)
    idle, changed = spread(nothing / whole), np.array(changed)
    return {
        "cores": cores,
        "cold": whole,
        "site": site,
        "execution_serial": spread(serial),
        "execution_parallel": spread(parallel),
        "speedup": speedup,
        "nothing_changed": spread(nothing),
        "one_chapter_changed": spread(changed),
        "nothing_share": idle,
        "chapter_share": spread(changed / whole),
        "goals": {
            "execution, parallel against serial": goal(speedup["median"], at_least=1.7),
            "nothing changed, share of cold": goal(idle["median"], at_most=0.03),
        },
    }


def _make(book: Path, what: str, *options: str) -> float:
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {
        name: value for name, value in os.environ.items() if name not in outer
    }
    began = time.perf_counter()
    done = subprocess.run(
        ["make", what, *options, "PROFILE=fast"],
        cwd=book,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(
            f"make {' '.join([what, *options])} failed:\n{done.stdout[-2000:]}"
        )
    print(f"  make {' '.join([what, *options])}: {seconds:.1f} s", flush=True)
    return seconds
