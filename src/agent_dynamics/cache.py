"""Where results that took long to compute are kept: trained layers and finished cells of sweeps."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch


def cache_folder() -> Path:
    """The cache of the package as it is now; it is made by who writes into it.

    A folder in the one that the environment variable AGENT_DYNAMICS_CACHE names, or else in `cache` of the
    working directory. It is named after the package's source and the versions it computes with, so no
    result outlives the code that made it.
    """
    return Path(os.environ.get("AGENT_DYNAMICS_CACHE") or "cache").absolute() / _source_digest()


@cache
def _source_digest() -> str:
    digest = hashlib.sha256(f"{torch.__version__} {np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
