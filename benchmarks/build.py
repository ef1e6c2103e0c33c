"""The build of the book, fast profile, in a copy of the sources: cold, in parallel, and again."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .timing import RUNS, goal, spread

ROOT = Path(__file__).parents[1]


def run() -> dict[str, object]:
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "book"
        shutil.copytree(ROOT, book, ignore=shutil.ignore_patterns("_build", ".venv", ".git", "__pycache__"))
        (book / ".venv").symlink_to(ROOT / ".venv")
        serial, _ = _cold(book, 1)
        parallel, site = _cold(book, cores)
        cold = parallel + site
        nothing = np.array([_make(book, "book") for _ in tqdm(range(RUNS), leave=False, desc="nothing changed")])
        chapter = book / "book" / "05-angle.md"
        chapter.write_text(chapter.read_text(encoding="utf-8") + "\nOne more line.\n", encoding="utf-8")
        changed = _make(book, "book")
    speedup, idle = serial / parallel, spread(nothing / cold)
    return {
        "cores": cores, "runs_cold": 1, "cold": cold, "execution_serial": serial, "execution_parallel": parallel, "site": site,
        "nothing_changed": spread(nothing), "one_chapter_changed": changed, "speedup": speedup,
        "nothing_share": idle, "chapter_share": changed / cold,
        "goals": {"execution, parallel against serial": goal(speedup, at_least=1.7),
                  "nothing changed, share of cold": goal(idle["median"], at_most=0.03)},
    }


def _cold(book: Path, jobs: int) -> tuple[float, float]:
    """Seconds to execute every chapter with nothing there, and then to build the site."""
    shutil.rmtree(book / "_build", ignore_errors=True)
    shutil.copytree(ROOT / "_build" / "matplotlib", book / "_build" / "matplotlib")  # its font list, part of the setup
    return _make(book, "executed", f"-j{jobs}"), _make(book, "book")


def _make(book: Path, *arguments: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    began = time.perf_counter()
    done = subprocess.run(["make", *arguments, "PROFILE=fast"], cwd=book, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"make {' '.join(arguments)} failed:\n{done.stdout[-2000:]}")
    return time.perf_counter() - began
