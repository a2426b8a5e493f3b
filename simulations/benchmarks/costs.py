"""The costs of nodes: processor time and memory by the kernel's accounts, packets at the router, and disk writes."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio

__all__ = [
    "Traffic",
    "count_traffic",
    "free_memory",
    "fsync_seconds",
    "machine_busy_seconds",
    "memory_of",
    "processor_seconds_of",
]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CLOCK_OF_PROCESS: Final = 2
"""Together with the complement of a pid in the upper bits, this is the result of clock_getcpuclockid(3), which Python
lacks."""

_UDP: Final = 17
_TCP: Final = 6
_BUFFER_BYTES: Final = 8 << 20


def processor_seconds_of(pid: int) -> float:
    """Return the user and system time of all threads of a process so far. Raises ``OSError`` if there is no such
    process."""
    return time.clock_gettime((~pid << 3) | _CLOCK_OF_PROCESS)


def machine_busy_seconds() -> float:
    """Return the processor time of the whole machine since its start, neither idle nor waiting for a disk."""
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = (
        int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS


def fsync_seconds(directory: Path, repeats: int = 50) -> float:
    """Return the median time to append 1 KB to a file there and sync it: the cost for a system that stores each message
    before the next."""
    took = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(repeats):
            began = time.monotonic()
            file.write(bytes(1024))
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return statistics.median(took)


class Memory(msgspec.Struct, frozen=True):
    """Bytes of memory: ``resident`` counts shared pages fully, ``proportional`` counts a share of them."""

    resident: int
    proportional: int


def memory_of(pid: int) -> Memory:
    """Return the memory of a process now."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            values[name] = int(rest.split()[0]) * 1024
    return Memory(values["Rss"], values["Pss"])


def free_memory() -> int:
    """Return how many bytes new processes can get without swapping."""
    [line] = (each for each in Path("/proc/meminfo").read_text().splitlines() if each.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


class Traffic(msgspec.Struct):
    """The traffic sent by some hosts. Bytes are those of IP packets: 28 more than the payload of a datagram."""

    datagrams: int = 0
    datagram_bytes: int = 0
    tcp_packets: int = 0
    tcp_bytes: int = 0


@contextlib.asynccontextmanager
async def count_traffic(tap: socket.socket, addresses: Iterable[str]) -> AsyncIterator[Traffic]:
    """Count the packets that hosts with these addresses send during the block, from copies of the packets on ``tap``,
    which is closed then."""
    wanted = {socket.inet_aton(address) for address in addresses}
    traffic = Traffic()
    with tap:
        tap.setblocking(False)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_count, tap, wanted, traffic)
            yield traffic
            nursery.cancel_scope.cancel()


async def _count(tap: socket.socket, wanted: set[bytes], traffic: Traffic) -> None:
    while True:
        await trio.lowlevel.wait_readable(tap)
        with contextlib.suppress(BlockingIOError):
            while True:
                header, (_, _, kind, *_) = tap.recvfrom(20)
                if kind == socket.PACKET_HOST and header[12:16] in wanted:
                    count_packet(header, traffic)


def count_packet(header: bytes, traffic: Traffic) -> None:
    """Add one packet, of which these are the first 20 bytes."""
    size = int.from_bytes(header[2:4], "big")
    if header[9] == _UDP:
        traffic.datagrams += 1
        traffic.datagram_bytes += size
    elif header[9] == _TCP:
        traffic.tcp_packets += 1
        traffic.tcp_bytes += size
