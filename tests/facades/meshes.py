"""Facades on loopback, and programs of their own processes that embed one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import meshp2p
import meshp2p.blocking
from meshp2p import ProtocolConfig

QUICK = ProtocolConfig(settle_timeout=0.05)
LONG = 30.0
"""Seconds that a test waits at most for what comes at once."""


def options(instance_id: str, *seeds: Any, **more: Any) -> dict[str, Any]:
    """The options of a node on loopback that begins with these nodes."""
    join = [str(seed.addresses[0]) for seed in seeds]
    return {"id": instance_id, "port": 0, "mdns": False, "protocol": QUICK, "join": join, **more}


@contextlib.contextmanager
def open_pair(**more: Any) -> Iterator[tuple[meshp2p.blocking.MeshNode, meshp2p.blocking.MeshNode]]:
    """Two nodes of this process, ``a`` and ``b``, that see each other."""
    with (
        meshp2p.blocking.open_node(**options("a")) as a,
        meshp2p.blocking.open_node(**options("b", a, **more)) as b,
    ):
        a.wait_for_members(2, timeout=LONG)
        b.wait_for_members(2, timeout=LONG)
        yield a, b


def wait_for(node: meshp2p.blocking.MeshNode, is_it: Callable[[Any], bool]) -> Any:
    """The first event of the node's, what is so now first, that is the one."""
    with node.events() as events:
        while True:
            event = events.get(timeout=LONG)
            if is_it(event):
                return event


def has_left(instance_id: str) -> Callable[[Any], bool]:
    return lambda event: isinstance(event, meshp2p.MemberLeft) and event.id == instance_id


PRELUDE = """
import asyncio, os, signal, sys, time, threading
import meshp2p, meshp2p.aio, meshp2p.blocking
OPTIONS = dict(id="child", port=0, mdns=False, join=[sys.argv[1]])
"""


@contextlib.contextmanager
def program(text: str, node: meshp2p.blocking.MeshNode) -> Iterator[subprocess.Popen[str]]:
    """A program in a process of its own; ``OPTIONS`` are those of a node that joins ``node``."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PRELUDE + textwrap.dedent(text)]
    with subprocess.Popen(
        [*command, str(node.addresses[0])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
