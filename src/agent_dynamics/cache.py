"""Where results that took long to compute are kept, trained layers and finished cells
of sweeps, and how.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch


def cache_folder() -> Path:
    """The cache of the package as it is now; it is made by who writes into it.

    A folder in the one that the environment variable AGENT_DYNAMICS_CACHE names, or
    else in `cache` of the working directory. It is named after the package's source and
    the versions it computes with, so no result outlives the code that made it.
    """
    return Path(os.environ.get("AGENT_DYNAMICS_CACHE") or "cache").absolute() / SOURCE


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Another path to write to, which becomes `path` at the end: a kill leaves the old
    file, or none.

    It is nobody else's, whether processes, threads or machines write the same file at
    one time.
    """
    partial = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _source_digest() -> str:
    digest = hashlib.sha256(f"{torch.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


SOURCE = _source_digest()  # of the code that was imported, whatever is edited later
