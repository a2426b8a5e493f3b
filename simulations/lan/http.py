"""Send an HTTP request to a node from a socket in its host's namespace, so that it arrives whatever the network
does."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

import h11
import trio

from simulations.lan.network import Host

__all__ = ["ask"]

REQUEST_SECONDS: Final = 5.0
"""The timeout of an answer: a suspended process gives none. Chosen, not measured."""


async def ask(host: Host, method: str, target: str, body: object = None, *, port: int = 7700) -> tuple[int, Any]:
    """Return the status and the JSON of the answer, None for an empty one. Raises ``OSError`` if there is no answer."""
    opened = host.namespace.open_socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        with trio.fail_after(REQUEST_SECONDS), trio.socket.from_stdlib_socket(opened) as stream:
            await stream.connect(("127.0.0.1", port))
            return await _converse(trio.SocketStream(stream), method, target, body)
    except (trio.TooSlowError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        raise OSError(f"{host.name} gave no answer to {method} {target}: {error}") from error


async def _converse(stream: trio.SocketStream, method: str, target: str, body: object) -> tuple[int, Any]:
    connection = h11.Connection(h11.CLIENT)
    content = b"" if body is None else json.dumps(body).encode()
    headers = [("host", "localhost"), ("connection", "close"), ("content-type", "application/json")]
    headers.append(("content-length", str(len(content))))
    for event in (h11.Request(method=method, target=target, headers=headers), h11.Data(content), h11.EndOfMessage()):
        await stream.send_all(connection.send(event) or b"")
    status, answer = 0, b""
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            case h11.Response(status_code=status):
                pass
            case h11.Data(data=data):
                answer += data
            case h11.EndOfMessage() | h11.ConnectionClosed():
                return status, json.loads(answer) if answer else None
