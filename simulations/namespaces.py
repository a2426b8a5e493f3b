"""Network namespaces: the network as seen by one machine.

A namespace has no name. It lives as long as this process holds it open, or a process runs in it, and each process that
:meth:`Namespace.command` starts dies with this one. So nothing remains however this process ends, no run finds
leftovers of an earlier one, and any number of runs can happen at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from simulations.programs import ENDS_WITH_PARENT

__all__ = ["Namespace", "NamespacesUnavailable", "explaining", "open_namespaces"]

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000


class NamespacesUnavailable(Exception):
    """Network namespaces cannot be created or set up here. The text says what is needed."""


class Namespace:
    """One namespace, created by :func:`open_namespaces`."""

    def __init__(self) -> None:
        def make() -> int:
            _call("unshare", _CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self._file = _in_thread(make)

    def close(self) -> None:
        os.close(self._file)

    @property
    def path(self) -> str:
        """The path by which tools of this machine name it."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs ``command`` in it. The process keeps the pid it is started with, and dies
        with this process: start it from the main thread."""
        return [*self._enter(), *ENDS_WITH_PARENT, *command]

    def run(self, *command: str, text: str = "") -> str:
        """Run a short command in it, with ``text`` as its input, and return its output. Raises ``OSError`` and
        ``CalledProcessError``."""
        finished = subprocess.run([*self._enter(), *command], input=text, capture_output=True, text=True, check=True)
        return finished.stdout

    def ip(self, *commands: str) -> None:
        """Run these commands of ``ip`` (iproute2). Raises the errors of :meth:`run`."""
        self.run("ip", "-batch", "-", text="\n".join(commands))

    def set_option(self, name: str, value: str) -> None:
        """Set an option of the kernel, named like its file in ``/proc/sys``. Raises the errors of :meth:`run`."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/{name}")

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket that belongs to it, wherever it is used."""
        return self._within(lambda: socket.socket(family, kind, protocol))

    def _within(self, function: Callable[[], T]) -> T:
        def enter() -> T:
            _call("setns", self._file, _CLONE_NEWNET)
            return function()

        return _in_thread(enter)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--"]


@contextlib.contextmanager
def open_namespaces(count: int) -> Iterator[list[Namespace]]:
    """Open so many namespaces until the block ends. Raises :class:`NamespacesUnavailable`."""
    with contextlib.ExitStack() as held:
        namespaces = []
        with explaining():
            for _ in range(count):
                namespace = Namespace()
                held.callback(namespace.close)
                namespaces.append(namespace)
        yield namespaces


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """Convert errors of setting up a network in the block to :class:`NamespacesUnavailable`."""
    try:
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise NamespacesUnavailable(
            f"cannot set up network namespaces: {detail}. Needed: Linux, iproute2, iptables, util-linux, and root"
            " (or `unshare --map-root-user --net` before the command)"
        ) from error


def _in_thread(function: Callable[[], T]) -> T:
    """Run it in a new thread: only one thread enters a namespace, and ends afterwards."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(function).result()


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library that returns 0. Python has these from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
