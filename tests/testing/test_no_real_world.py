"""A virtual mesh touches neither the kernel's network nor files nor threads: they would break virtual time."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from meshp2p.testing import VirtualMesh
from tests.testing.test_determinism import eventful


async def test_an_eventful_run_opens_no_socket_no_file_and_no_thread(
    virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **_: object) -> NoReturn:
        raise AssertionError(f"the real world was asked: {arguments!r}")

    monkeypatch.setattr(trio.to_thread, "run_sync", refuse)
    monkeypatch.setattr(trio.socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    await eventful(virtual_mesh)
