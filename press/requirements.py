"""The pinned versions that a student installs: those of the lock file that the package
and JupyterLab need, and no other.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(lock: str, asked: Iterable[str]) -> list[str]:
    """The lines of the lock file for what is asked and what that depends on in turn.

    Dependencies of other systems and Pythons are not in the lock file; pip adds them.
    """
    locked = {
        canonicalize_name(line.partition("==")[0]): line
        for line in lock.splitlines()
        if "==" in line
    }
    seen, rest = set(), [Requirement(line) for line in asked]
    while rest:
        requirement = rest.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if name in locked and (name, extra) not in seen:
                seen.add((name, extra))
                rest += applying(name, extra)
    return [line for name, line in locked.items() if (name, "") in seen]


def applying(name: str, extra: str) -> list[Requirement]:
    """What an installed distribution depends on here, with an extra or without."""
    try:
        lines = requires(name) or []
    except PackageNotFoundError:
        return []
    return [
        requirement
        for requirement in map(Requirement, lines)
        if not requirement.marker or requirement.marker.evaluate({"extra": extra})
    ]
