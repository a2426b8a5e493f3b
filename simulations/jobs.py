"""Work that is spread over processes of this machine."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["map_in_processes"]

W = TypeVar("W")
R = TypeVar("R")


def map_in_processes(function: Callable[[W], R], work: list[W], jobs: int) -> Iterator[R]:
    """Apply the function to each item on so many processes, and return the results in the order of the items. A single
    job runs in this process."""
    if jobs == 1:
        yield from map(function, work)
        return
    # spawn: the same on all systems, and the new processes inherit nothing of this one
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        yield from pool.map(function, work)
