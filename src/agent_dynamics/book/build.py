"""Where a chapter runs: in a build of the book, or in a reader's own session.

The build says so by two environment variables, so that a chapter holds no plumbing and
a downloaded notebook runs unchanged.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

OWN_RUN = "own run"


def build_directory() -> Path | None:
    """The folder that holds the executed chapters of the build, or None outside one."""
    directory = os.environ.get("AGENT_DYNAMICS_BUILD")
    return Path(directory) if directory else None


def profile() -> str:
    """The parameters' profile: "full" or "fast" in a build, "own run" outside."""
    return os.environ.get("AGENT_DYNAMICS_PROFILE", OWN_RUN)


def package_version() -> str:
    """The installed version of this package."""
    return version("agent-dynamics")
