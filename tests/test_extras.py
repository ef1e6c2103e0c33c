"""The base install is light, and an import that needs an extra says which."""

import subprocess
import sys

import pytest

# A finder that comes first and finds none of these, as where they are not installed.
WITHOUT = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
ALL = (
    "pyarrow",
    "distributed",
    "openai",
    "httpx2",
    "pydantic",
)  # pandas comes with seaborn


def run(code: str, missing: tuple[str, ...]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing) + code],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("agent_dynamics.sweeps", "pandas", "sweeps"),
        ("agent_dynamics.sweeps", "pyarrow", "sweeps"),
        ("agent_dynamics.language_model", "openai", "language-models"),
        ("agent_dynamics.language_model.stand_in", "httpx2", "language-models"),
    ],
)
def test_an_import_without_its_extra_says_which(module, missing, extra):
    done = run(f"import {module}", (missing,))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: {missing} is not installed")
    assert last.endswith(
        f"it comes with the extra '{extra}': pip install 'agent-dynamics[{extra}]'"
    )


def test_the_rest_of_the_package_needs_no_extra():
    code = """
from agent_dynamics import adversary, angle, diagnosis, equilibrium, helper
from agent_dynamics import interaction, limits, losses, lsa, softmax, training
from agent_dynamics.book import claims, exercises, figures, glue, plots
"""
    done = run(code, ALL)
    assert done.returncode == 0, done.stderr


def test_a_cluster_without_its_extra_says_which():
    code = """
from agent_dynamics._cells import on_cluster
next(on_cluster(print, [], "tcp://nowhere:1"))
"""
    assert "comes with the extra 'sweeps'" in run(code, ("distributed",)).stderr
