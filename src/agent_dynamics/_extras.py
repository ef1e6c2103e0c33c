"""Parts of the package that need more than its base install say which extra has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import within it what the extra `name` of the package brings.

    Raises:
        ImportError: a module that is not installed, with the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; it comes with the extra {name!r}: "
            f"pip install 'agent-dynamics[{name}]'",
            name=error.name,
        ) from error
