"""Which extras of the package a notebook needs, read from what its code imports, itself
and through the package's modules.
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import resolve_name
from pathlib import Path

from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = "agent_dynamics"


def project() -> dict:
    """What pyproject.toml says of the package."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]


def extras(notebook: NotebookNode) -> dict[str, list[str]]:
    """The extras that the notebook needs, each with the modules it brings."""
    about = project()
    offered = {
        extra: names(lines)
        for extra, lines in sorted(
            about["optional-dependencies"].items(),
            key=lambda entry: len(entry[1]),
        )
    }
    base = set(names(about["dependencies"]))
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    needed = {}
    for module in sorted(reached(imports(code)) - {PACKAGE}):
        distributions = {*names(owners().get(module, ()))}
        if distributions and not distributions & base:
            # The smallest of several; none where a dependency brings the module along.
            for extra, listed in offered.items():
                if distributions & set(listed):
                    needed[extra] = [name.replace("-", "_") for name in listed]
                    break
    return dict(sorted(needed.items()))


@cache
def owners() -> Mapping[str, list[str]]:
    """The distributions that each module is installed by; slow to find out."""
    return packages_distributions()


def names(lines: Iterable[str]) -> list[str]:
    return [canonicalize_name(Requirement(line).name) for line in lines]


def imports(code: str, package: str = "") -> set[str]:
    """Dotted names of what the code imports, relative ones from `package` on. A name
    that is taken from a module may be a module too.
    """
    # What Jupyter alone reads is no import.
    tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            written = "." * node.level + (node.module or "")
            module = resolve_name(written, package) if node.level else written
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def reached(modules: set[str]) -> set[str]:
    """The first names of all modules that these import in turn."""
    seen, rest = set(), set(modules)
    while rest:
        module = rest.pop()
        parents = [module[:i] for i, letter in enumerate(module) if letter == "."]
        new = {module, *parents} - seen
        seen |= new
        rest |= set().union(*map(imported_by, new)) - seen
    return {name.partition(".")[0] for name in seen}


@cache
def imported_by(module: str) -> frozenset[str]:
    """What a module of the package imports; nothing of any other."""
    path = ROOT / "src" / module.replace(".", "/")
    for file, package in (
        (path / "__init__.py", module),
        (path.with_suffix(".py"), module.rpartition(".")[0]),
    ):
        if module.partition(".")[0] == PACKAGE and file.is_file():
            return frozenset(imports(file.read_text(encoding="utf-8"), package))
    return frozenset()
