"""No progress bars, one thread, shapes checked, the same examples on every run."""

import os

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported

import jaxtyping
import pytest
import shapes
import torch
from hypothesis import settings

# Before the package is imported: every call of it is held to its annotations.
jaxtyping.install_import_hook("agent_dynamics", "shapes.checked")

from agent_dynamics import interaction  # noqa: E402

# It plays up to a million rounds, each of them as `interact` plays it.
interaction.settle = shapes.unchecked(interaction.settle)

torch.set_num_threads(1)
settings.register_profile("book", deadline=None, derandomize=True, database=None)
settings.load_profile("book")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> object:
    """Bad input gets its own error in use; `unchecked` tests see that one."""
    unchecked = item.get_closest_marker("unchecked") is not None
    jaxtyping.config.update("jaxtyping_disable", unchecked)
    return (yield)
