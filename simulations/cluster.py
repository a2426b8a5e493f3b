"""Run the chunks of a sweep on an existing Dask cluster. The only file that imports distributed."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from distributed import Client, Security
from distributed.comm.core import connect

import meshp2p
from meshp2p.errors import ConfigError

__all__ = ["Cluster", "open_cluster"]

CONNECT_TIMEOUT = 10.0
"""Seconds within which the scheduler must answer. Chosen, not measured."""

WORKERS_TIMEOUT = 60.0
"""Seconds within which a cluster without workers must get one: an adaptive one starts them when there is work. Chosen,
not measured."""

W = TypeVar("W")
R = TypeVar("R")


@functools.cache
def code_fingerprint() -> str:
    """Return a hash of the sources of ``meshp2p`` and ``simulations`` that this process imports."""
    found = hashlib.sha256()
    for package in (Path(meshp2p.__file__).parent, Path(__file__).parent):
        for path in sorted(package.rglob("*.py")):
            found.update(f"{path.relative_to(package)}\0".encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def run_same_code(work: tuple[str, Callable[[W], R], W]) -> R:
    """Apply the function on a worker if the worker's code is that of the caller.

    Otherwise raises :class:`ConfigError`, because its seeds could not be repeated here.
    """
    fingerprint, function, argument = work
    if fingerprint != code_fingerprint():
        raise ConfigError("a worker has other sources of meshp2p or simulations than this checkout")
    return function(argument)


class Cluster:
    """A connection to a scheduler. ``address`` has Dask's format: ``tcp://HOST:PORT``."""

    def __init__(self, address: str, client: Client) -> None:
        self.address = address
        self._client = client

    def map(self, function: Callable[[W], R], work: list[W]) -> Iterator[R]:
        """Apply the function to each item on any free worker, and return the results in the order of the items.

        Raises :class:`ConfigError` with one line if the cluster has no workers, a worker cannot import the function or
        has other code, or the cluster gave up. Unfinished work is then withdrawn.
        """
        client = self._client
        tasks = [(code_fingerprint(), function, piece) for piece in work]
        try:
            # pure=False: the same sweep again is run again, not remembered
            futures = client.map(run_same_code, tasks, pure=False)
            client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
            while futures:
                yield futures[0].result()
                del futures[0]  # so that the cluster forgets the result, too
        except TimeoutError:
            raise ConfigError(f"cluster at {self.address}: no worker within {WORKERS_TIMEOUT:g} s") from None
        except Exception as error:
            # the function keeps its own failures, so that this one is the cluster's
            raise ConfigError(f"cluster at {self.address}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"


async def _knock(address: str, security: Security) -> None:
    options = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    async with asyncio.timeout(CONNECT_TIMEOUT + 1.0):  # its own covers no peer that says nothing
        comm = await connect(address, timeout=CONNECT_TIMEOUT, **options)  # type: ignore[no-untyped-call]
    comm.abort()


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler at this address, and disconnect at the end; the cluster continues. Certificates are
    those of Dask's own configuration.

    Raises :class:`ConfigError` with one line if no scheduler answers there.
    """
    try:
        security = Security()  # type: ignore[no-untyped-call]
        # a Client that finds nobody complains once more when it is collected
        asyncio.run(_knock(address, security))
        client = Client(address, timeout=CONNECT_TIMEOUT, security=security, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, MemoryError) as error:  # MemoryError: another protocol's bytes, taken for a length
        reason = str(error).strip().splitlines()
        about = reason[0] if reason else "what answers is no Dask scheduler"
        raise ConfigError(f"--scheduler {address}: {about}") from None
    try:
        yield Cluster(address, client)
    finally:
        client.close()  # type: ignore[no-untyped-call]
