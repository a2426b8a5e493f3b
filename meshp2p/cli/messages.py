"""``meshp2p send``, ``meshp2p messages`` and ``meshp2p status``: messages between agents, through any node."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import trio

from meshp2p.cli.ask import expect_member, open_client
from meshp2p.cli.output import printable, progress, time_text, to_json_line, write_line
from meshp2p.client import MeshClient
from meshp2p.core.message import CUSTOM, KINDS
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.errors import ConfigError, MeshError, RemoteError, RequestRefused, UnknownInstance
from meshp2p.node.received import ReceivedMessage

__all__ = ["messages", "query", "send", "status"]

_HEARTBEAT_SECONDS: Final = 5.0
_FAREWELL_SECONDS: Final = 2.0


async def send(options: argparse.Namespace) -> int:
    kind, payload = _kind(options.kind), _payload(options)
    if options.all and options.if_absent != "refuse":
        raise ConfigError("--if-absent: expected only with --to")
    async with open_client(options) as client:
        if options.all:
            message_id = await client.broadcast(payload, source=options.source, kind=kind)
        else:
            async with _errors_about(client, options.target):
                message_id = await client.send(
                    options.target,
                    payload,
                    source=options.source,
                    kind=kind,
                    correlation_id=options.correlation_id,
                    if_absent=options.if_absent,
                )
    write_line(to_json_line({"id": message_id}) if options.json else printable(message_id))
    return 0


async def query(options: argparse.Namespace) -> int:
    payload = _payload(options)
    async with open_client(options) as client:
        with progress(f"waiting for the answer of {options.target}"):
            async with _errors_about(client, options.target):
                if options.source is not None:
                    await expect_member(client, options.source)
                    answer = await client.query(options.target, payload, source=options.source, timeout=options.timeout)
                else:
                    answer = await _ask_as_newcomer(client, options.target, payload, options.timeout)
    write_line(to_json_line({"answer": answer} if options.json else answer))
    return 0


@contextlib.asynccontextmanager
async def _errors_about(client: MeshClient, target: str) -> AsyncIterator[None]:
    """Let errors say more of the target: the nearest id if it is unknown, and that an error is its own."""
    try:
        yield
    except RemoteError as error:
        raise MeshError(f"{target!r} answered with an error: {error}") from error
    except UnknownInstance:
        with contextlib.suppress(RequestRefused):
            await expect_member(client, target)
        raise


async def _ask_as_newcomer(client: MeshClient, target: str, payload: msgspec.Raw, timeout: float) -> Any:
    """Register an agent, which sorts after all others so that it does not lead, ask, and deregister it."""
    name = f"~query-{secrets.token_hex(8)}"
    answer: Any = None
    failure: MeshError | None = None
    try:
        await client.register(name, socket.gethostname(), 0)
    except RequestRefused as error:
        if error.status != 403:
            raise
        hint = f"{error}; a caller that may not register {name!r} asks as a registered agent of its own, with --from"
        raise ConfigError(hint) from error
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stay_registered, client, name)
            try:
                answer = await client.query(target, payload, source=name, timeout=timeout)
            except MeshError as error:
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(_FAREWELL_SECONDS, shield=True), contextlib.suppress(MeshError):
            await client.deregister(name)
    if failure is not None:
        raise failure
    return answer


async def _stay_registered(client: MeshClient, name: str) -> None:
    while True:
        await trio.sleep(_HEARTBEAT_SECONDS)
        with contextlib.suppress(MeshError):
            await client.heartbeat(name)


async def messages(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        messages = await client.messages(
            options.instance_id, wait=options.wait, limit=options.limit, after=options.after
        )
        if options.json:
            write_line(to_json_line({"messages": list(map(_as_json, messages))}))
        else:
            for message in messages:
                write_line(printable(_line(message)))
        if not messages:
            with contextlib.suppress(RequestRefused):  # a token may not allow to read the list
                await expect_member(client, options.instance_id)
        if options.ack and messages:
            await client.acknowledge(options.instance_id, [message.id for message in messages])
    return 0


async def status(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        receipts = await client.message_status(options.message_id)
    if options.json:
        write_line(to_json_line({"receipts": receipts}))
        return 0
    width = max(len(receipt.recipient) for receipt in receipts)
    for receipt in receipts:
        line = f"{receipt.recipient:{width}}  {receipt.status}  {time_text(receipt.changed_at)}  {receipt.reason}"
        write_line(printable(line.rstrip()))
    return 0


def _payload(options: argparse.Namespace) -> msgspec.Raw:
    """Return the payload that the options give. Raises :class:`~meshp2p.errors.ConfigError` if it is no JSON."""
    payload = sys.stdin.buffer.read() if options.payload == "-" else options.payload.encode("utf-8", "surrogateescape")
    try:
        check_plain_json(payload)
    except NotPlainJson as error:
        raise ConfigError(f"PAYLOAD {error} (a text needs quotes: '\"hello\"')") from None
    return msgspec.Raw(payload)


def _kind(text: str) -> str:
    """Return the kind that ``--kind`` names. Raises :class:`~meshp2p.errors.ConfigError` if it is invalid."""
    kind, colon, name = text.partition(":")
    if kind == CUSTOM and name and name not in KINDS:
        return name
    if kind == CUSTOM or kind not in KINDS or colon:
        plain = ", ".join(kind for kind in KINDS if kind != CUSTOM)
        raise ConfigError(f"--kind {text!r}: expected one of {plain}, or {CUSTOM}:NAME")
    return kind


def _line(message: ReceivedMessage) -> str:
    kind = message.kind if message.kind in KINDS else f"{CUSTOM}:{message.kind}"
    return f"{message.id}  {time_text(message.created_at)}  {message.source}  {kind}  {to_json_line(message.payload)}"


def _as_json(message: ReceivedMessage) -> dict[str, Any]:
    names = ("id", "source", "target", "kind", "payload", "correlation_id", "is_error", "created_at")
    return {name: getattr(message, name) for name in names}
