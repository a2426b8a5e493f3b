"""The addresses of this machine, asked of the Linux kernel (rtnetlink(7)).

The library ``ifaddr`` asks it too, and starts a process (ldconfig) when it is imported. That takes longer than all that
a node does before it is ready.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

__all__ = ["read_addresses"]

_HEADER: Final = struct.Struct("=IHHII")
"""Size, kind, flags, sequence, and port of a message. Messages and attributes begin at multiples of 4."""
_ADDRESS: Final = struct.Struct("=BBBBI")
"""Family, length of the prefix, flags, scope, and number of the interface."""
_ATTRIBUTE: Final = struct.Struct("=HH")
"""Size and kind."""

_ERROR, _DONE = 2, 3
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_REQUEST_DUMP: Final = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_SECONDS_MAX: Final = 2.0
"""How long to wait for the kernel, which answers at once. Chosen, not measured."""


def read_addresses() -> list[tuple[int, str, int]]:
    """Return the number of its interface, the host, and the length of the prefix for each address. Raises
    ``OSError``."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as kernel:
        kernel.settimeout(_SECONDS_MAX)
        kernel.send(_HEADER.pack(_HEADER.size + _ADDRESS.size, _GET_ADDRESS, _REQUEST_DUMP, 1, 0) + bytes(8))
        try:
            return _read_answer(kernel)
        except (struct.error, ValueError, OverflowError) as error:
            raise OSError(f"malformed answer of the kernel: {error}") from error


def _read_answer(kernel: socket.socket) -> list[tuple[int, str, int]]:
    found: list[tuple[int, str, int]] = []
    while True:
        data = kernel.recv(1 << 16)
        while data:
            size, kind, *_ = _HEADER.unpack_from(data)
            message = data[_HEADER.size : size]
            if kind == _DONE:
                return found
            if kind == _ERROR:
                code = -int.from_bytes(message[:4], sys.byteorder, signed=True)
                raise OSError(code, os.strerror(code))
            if kind == _NEW_ADDRESS:
                found += _addresses_in(message)
            data = data[_padded(size) :]


def _addresses_in(message: bytes) -> list[tuple[int, str, int]]:
    """Return the address of a message, if it is one of IP."""
    family, prefix, _, _, index = _ADDRESS.unpack_from(message)
    place = _ADDRESS.size
    values: dict[int, bytes] = {}
    while place < len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, place)
        values[kind] = message[place + _ATTRIBUTE.size : place + size]
        place += _padded(size)
    address = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))  # on a tunnel, the second is the other end's
    if address is None or family not in (socket.AF_INET, socket.AF_INET6):
        return []
    return [(index, socket.inet_ntop(family, address), prefix)]


def _padded(size: int) -> int:
    return max(4, size + 3 & ~3)
