"""The cells of a sweep: how they are measured, here or on a cluster, and named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator
from inspect import isfunction
from typing import TypeVar

import torch

from ._extras import extra

with extra("sweeps"):
    import pandas as pd
    import pyarrow  # noqa: F401  of pandas, to write a cell's file

Cell = TypeVar("Cell", bound=Hashable)


def here(
    function: Callable[[Cell], pd.DataFrame], cells: list[Cell]
) -> Iterator[tuple[Cell, pd.DataFrame]]:
    for cell in cells:
        yield cell, _on_one_thread(function, cell)


def on_cluster(
    function: Callable[[Cell], pd.DataFrame], cells: list[Cell], address: str
) -> Iterator[tuple[Cell, pd.DataFrame]]:
    # Half a second, which a local sweep does not need.
    with extra("sweeps"):
        from distributed import Client, as_completed

    with Client(address) as client:
        futures = {
            client.submit(_on_one_thread, function, cell, pure=False): cell
            for cell in cells
        }
        for future, result in as_completed(list(futures), with_results=True):
            yield futures.pop(future), result
            future.release()  # or the cluster would keep every result to the end


def _on_one_thread(
    function: Callable[[Cell], pd.DataFrame], cell: Cell
) -> pd.DataFrame:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(cell)
    finally:
        torch.set_num_threads(threads)


def digest(*parts: object) -> str:
    """The name of a cell's file: reprs of dataclasses say every field, floats to the
    last digit.
    """
    names = [
        f"{part.__module__}.{part.__qualname__}" if isfunction(part) else repr(part)
        for part in parts
    ]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]
