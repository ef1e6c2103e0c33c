"""How the tests hold calls of the package to its annotations."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import config

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float


def unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, within which no call is checked."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        before = config.jaxtyping_disable
        config.update("jaxtyping_disable", True)
        try:
            return function(*arguments, **named)
        finally:
            config.update("jaxtyping_disable", before)

    return call
