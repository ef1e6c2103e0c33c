"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
ASKED = [
    Requirement(line)
    for extra, lines in [
        ("", PROJECT["dependencies"]),
        *PROJECT["optional-dependencies"].items(),
    ]
    # Each installed by its one target alone.
    if extra not in ("mutants", "bench", "dist", "watch", "slides", "nbgrader")
    for line in lines
    if not line.startswith("agent-dynamics[")
]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
    "dependencies"
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_lock_pins_each_dependency_at_a_version_that_satisfies_it(asked):
    (pin,) = (
        locked
        for locked in LOCK
        if canonicalize_name(locked.name) == canonicalize_name(asked.name)
    )
    (exact,) = pin.specifier
    assert exact.version in asked.specifier


def test_lock_pins_exact_versions_and_each_package_once():
    names = [canonicalize_name(locked.name) for locked in LOCK]
    assert len(names) == len(set(names))
    for locked in LOCK:
        assert [pin.operator for pin in locked.specifier] == ["=="] and "*" not in str(
            locked.specifier
        ), locked


def test_conda_environment_has_the_projects_python_and_installs_from_the_lock():
    (python,) = (
        Requirement(line.replace("=", "==", 1))
        for line in CONDA
        if isinstance(line, str) and line.startswith("python=")
    )
    (exact,) = python.specifier
    assert exact.version in SpecifierSet(PROJECT["requires-python"])
    (pip,) = (line["pip"] for line in CONDA if isinstance(line, dict))
    assert "-r requirements.lock" in pip
    assert "-e ." in pip
