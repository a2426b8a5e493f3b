"""The HTTP contract from the caller's side: for an agent that talks to a node instead of embedding one."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import anyio
import msgspec

from meshp2p.client.answers import RawMessages, instance_of, message_of, receipt_of
from meshp2p.client.event_stream import open_event_stream
from meshp2p.client.node_requests import NodeRequests, Transport, decode, error_text, made, refusal, segment
from meshp2p.core.message import CUSTOM, IfAbsent, check_if_absent
from meshp2p.errors import ConfigError, QueryTimeout, UnknownInstance, UnknownMessage, WaitTimeout
from meshp2p.node.arguments import check_count, check_flag, check_optional_name, check_seconds, encode_metrics
from meshp2p.node.config import check_name
from meshp2p.node.events import NodeEvent
from meshp2p.node.instance import Instance, Receipt
from meshp2p.node.payload import EncodedPayload, decode_error, decode_payload, encode_payload
from meshp2p.node.received import QUERY, REPLY_KINDS, RESPONSE, ReceivedMessage, split_kind
from meshp2p.node.values import check_shape
from meshp2p.node.within import check_timeout
from meshp2p.wire.contract import (
    EXPIRES_SECONDS_MAX,
    WAIT_SECONDS_MAX,
    DetailedInstances,
    HealthResponse,
    HeartbeatResponse,
    InstanceDetail,
    MessageStatusResponse,
    RegisterResponse,
    SendMessageResponse,
    SessionResponse,
)

__all__ = ["MeshClient"]

_T = TypeVar("_T")


class MeshClient:
    """A client that can call any node of a mesh, for agents that embed none. All nodes give the same answers.

    It has the methods of :class:`~meshp2p.MeshNode`, each a coroutine. It may act for any number of instances, so calls
    on behalf of an instance take its id; that of a sender is ``source``.

    ``urls`` is one base URL or ``HOST:PORT``, or several. The client first calls the one that answered last. If that
    cannot be reached, does not answer within ``timeout`` seconds, or is not ready (503), it tries the next, each once
    per call. It is an async context manager, for trio and asyncio. ``transport`` replaces the network of this machine.

    A secured mesh is called over HTTPS. ``credentials`` is the name of a secured mesh that this user joined, or the
    path of a credential's directory, or of a file that ``meshp2p join --export`` wrote: the client shows the
    certificate of this machine, and verifies nodes. ``token`` is one of ``meshp2p token``; it is not sent in clear to
    another machine. ``ca`` is a file with the certificate that ``meshp2p ca`` prints, to verify nodes without
    credentials; the default is the roots of the package certifi. ``HOST:PORT`` stands for HTTPS with ``credentials``,
    ``ca``, or a token for another machine, else for HTTP.

    Every call raises :class:`~meshp2p.errors.Unreachable` if no node answered, with the reason for each. A refusal
    raises :class:`~meshp2p.errors.InstanceConflict`, :class:`~meshp2p.errors.LimitExceeded`,
    :class:`~meshp2p.errors.MailboxFull` or :class:`~meshp2p.errors.StoreFull`, and
    :class:`~meshp2p.errors.RequestRefused` with the status in all other cases. Arguments of a wrong type or value raise
    :class:`~meshp2p.errors.ConfigError`.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        timeout: float = 5.0,
        token: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        ca: str | os.PathLike[str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._requests = NodeRequests(
            urls, timeout=timeout, token=token, credentials=credentials, ca=ca, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._requests.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._requests.close()

    # Instances

    async def register(
        self,
        instance_id: str,
        hostname: str,
        port: int,
        capabilities: Iterable[str] = (),
        profiles: Iterable[str] = (),
    ) -> None:
        """Register an instance, or register it again.

        It must then send a heartbeat about every 5 s; without one for 15 s it is removed.
        """
        check_name("instance_id", instance_id)
        check_name("hostname", hostname)
        check_count("port", port)
        body = {
            "instance_id": instance_id,
            "hostname": hostname,
            "port": port,
            "capabilities": _names("capabilities", capabilities),
            "agent_profiles": _names("profiles", profiles),
        }
        await self._request("POST", "/registry/register", RegisterResponse, body)

    async def heartbeat(
        self, instance_id: str, status: str = "healthy", metrics: Mapping[str, Any] | None = None
    ) -> bool:
        """Send a heartbeat. Return whether the members or the leader changed since the last one.

        Raises :class:`~meshp2p.errors.UnknownInstance` if the mesh does not list the instance: register it again.
        """
        check_name("status", status)
        body = {"status": status, "metrics": None if metrics is None else msgspec.Raw(encode_metrics(metrics))}
        path = f"/registry/heartbeat/{segment(instance_id)}"
        reply = await self._request("POST", path, HeartbeatResponse, body, accepted=(200, 404))
        if not reply.acknowledged:
            raise UnknownInstance(f"instance {instance_id!r} is not listed: register it again")
        return reply.should_sync

    async def deregister(self, instance_id: str) -> bool:
        """Remove an instance from the list. Return whether it was listed."""
        response = await self._requests.send("DELETE", f"/registry/deregister/{segment(instance_id)}", None)
        if response.status_code not in (204, 404):
            raise refusal(response)
        return response.status_code == 204

    async def members(self) -> list[Instance]:
        """Return all live instances, ordered by the bytes of their ids."""
        return await self._list({})

    async def find(self, *, capability: str | None = None, profile: str | None = None) -> list[Instance]:
        """Return the live instances that match the capability and the profile, each if given."""
        check_optional_name("capability", capability)
        check_optional_name("profile", profile)
        wanted = {"capability": capability, "profile": profile}
        return await self._list({name: value for name, value in wanted.items() if value is not None})

    async def member(self, instance_id: str) -> Instance | None:
        """Return the live instance with this id, or None."""
        response = await self._requests.send("GET", f"/registry/agents/{segment(instance_id)}", None)
        if response.status_code == 404:
            return None
        return made(response, lambda: instance_of(decode(response, InstanceDetail)))

    async def leader(self) -> Instance | None:
        """Return the leader, or None if there is none."""
        return next(iter(await self._list({"leader": "true"})), None)

    async def session_link(self) -> str:
        """Return a URL that opens the live page of a node in a browser, with the rights of the token of this client. In
        a secured mesh it can be opened once, within a minute, unless the client has no token on the machine of the
        node."""
        response = await self._requests.send("POST", "/session", None)
        path = made(response, lambda: decode(response, SessionResponse).path)
        return str(response.url).removesuffix("/session") + path

    async def _list(self, wanted: Mapping[str, str]) -> list[Instance]:
        response = await self._requests.send("GET", "/registry/agents", None, {"detail": "true", **wanted})
        return made(response, lambda: list(map(instance_of, decode(response, DetailedInstances).instances)))

    @contextlib.asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[NodeEvent]]:
        """Iterate over the events of a node: first the members and the leader, then each change, as
        :meth:`MeshNode.events() <meshp2p.MeshNode.events>`::

            async with client.events() as events:
                async for event in events:
                    ...

        If the connection is lost, the client connects again, and goes on after the last event; after
        :class:`~meshp2p.EventsLost` the members and the leader come again.
        """
        async with open_event_stream(self._requests) as stream:
            yield stream

    # Messages

    async def send(
        self,
        target: str,
        payload: object,
        *,
        source: str,
        kind: str = "Notification",
        correlation_id: str | None = None,
        is_error: bool = False,
        if_absent: IfAbsent = "refuse",
    ) -> str:
        """Send a message from ``source`` to ``target`` and return its id. When this returns, the message is stored and
        will be delivered.

        The arguments are those of :meth:`MeshNode.send() <meshp2p.MeshNode.send>`. ``payload`` may be ``msgspec.Raw``
        for JSON that is delivered byte for byte. ``is_error`` marks a Response or TaskResult that is an error: the
        asker gets a :class:`~meshp2p.errors.RemoteError`.

        Raises :class:`~meshp2p.errors.UnknownInstance` if ``target`` is not listed. A message that may have been
        accepted is not sent to the next node: then :class:`~meshp2p.errors.Unreachable` is raised, and whether it was
        accepted is unknown.
        """
        check_name("target", target)
        check_if_absent(if_absent)
        check_optional_name("correlation_id", correlation_id)
        check_flag("is_error", is_error)
        body = {"target_instance": target, "correlation_id": correlation_id, "is_error": is_error}
        return await self._accept(source, payload, kind, body, {"if_absent": "queue"} if if_absent == "queue" else None)

    async def broadcast(self, payload: object, *, source: str, kind: str = "Notification") -> str:
        """Send a message from ``source`` to every other live instance and return its id. Raises the same errors as
        :meth:`send`."""
        return await self._accept(source, payload, kind, {}, None)

    async def _accept(
        self, source: str, payload: object, kind: str, body: dict[str, Any], query: Mapping[str, str] | None
    ) -> str:
        name, own = split_kind(kind)
        body["message_type"] = {CUSTOM: own} if name == CUSTOM else name
        body["payload"] = msgspec.Raw(encode_payload(payload))
        response = await self._requests.send(
            "POST", f"/messages/send/{segment(source, 'source')}", body, query, is_repeatable=False
        )
        if response.status_code == 400:
            raise UnknownInstance(error_text(response))
        return made(response, lambda: decode(response, SendMessageResponse).message_id)

    async def query(
        self, target: str, payload: object, *, source: str, reply: Any = None, timeout: float = 30.0
    ) -> Any:
        """Ask another agent for ``source``, which must be registered, and return its answer.

        The query and the answer are messages: the query expires with ``timeout``, and the answer is read from the
        mailbox of ``source`` and acknowledged. All others stay there. With ``reply`` the answer is converted to that
        type, as by :meth:`MeshNode.query() <meshp2p.MeshNode.query>`.

        Raises :class:`~meshp2p.errors.QueryTimeout` after ``timeout`` seconds, :class:`~meshp2p.errors.RemoteError` if
        the agent answers with an error, :class:`~meshp2p.errors.PayloadMismatch` if the answer does not fit ``reply``,
        and the same errors as :meth:`send`.
        """
        check_name("target", target)
        check_seconds("timeout", timeout)
        if reply is not None:
            check_shape(reply, "reply")
        correlation_id, after = str(uuid.uuid4()), None
        with anyio.move_on_after(timeout) as scope:
            body = {"target_instance": target, "correlation_id": correlation_id}
            await self._accept(source, payload, QUERY, body, {"expires_in": f"{min(timeout, EXPIRES_SECONDS_MAX):.3f}"})
            while True:
                wait = min(max(0.0, scope.deadline - anyio.current_time()), WAIT_SECONDS_MAX)
                for message in await self.messages(source, wait=wait, after=after):
                    after = message.id
                    if message.kind == RESPONSE and message.correlation_id == correlation_id:
                        await message.acknowledge()
                        if message.is_error:
                            raise decode_error(message.raw)
                        return decode_payload(message.raw, reply, f"answer of {target!r}")
        raise QueryTimeout(
            f"{target!r} did not answer within {timeout:g} s: it may read no messages, or have no handler for queries"
        )

    async def messages(
        self, instance_id: str, *, wait: float = 0.0, limit: int | None = None, after: str | None = None
    ) -> list[ReceivedMessage]:
        """Return the messages in the mailbox of an instance, the oldest first. They stay there until they are
        acknowledged.

        If there is none, wait up to this many seconds for one, at most 60. ``limit`` is the maximum number of messages;
        ``after`` is the id of a message that was read, to get only later ones.
        """
        check_timeout(wait, "wait")
        if wait > WAIT_SECONDS_MAX:
            raise ConfigError(f"wait = {wait!r}: expected 0 to {WAIT_SECONDS_MAX:g} seconds")
        if limit is not None:
            check_count("limit", limit, 1)
        check_optional_name("after", after)
        wanted = {
            "detail": "true",
            "wait": f"{wait:.3f}" if wait else None,
            "limit": None if limit is None else str(limit),
            "after": after,
        }
        query = {name: value for name, value in wanted.items() if value is not None}
        response = await self._requests.send("GET", f"/messages/{segment(instance_id)}", None, query, timeout_more=wait)
        mailbox = _Mailbox(self, instance_id)
        return made(
            response,
            lambda: [ReceivedMessage(message_of(one), mailbox) for one in decode(response, RawMessages).messages],
        )

    async def acknowledge(self, instance_id: str, message_ids: Iterable[str]) -> None:
        """Remove completed messages from the mailbox of an instance. Ids that are not in the mailbox are ignored."""
        response = await self._requests.send(
            "POST", f"/messages/ack/{segment(instance_id)}", {"message_ids": _names("message_ids", message_ids)}
        )
        if response.status_code != 204:
            raise refusal(response)

    async def message_status(self, message_id: str) -> tuple[Receipt, ...]:
        """Return the status of each copy of a message, whichever node accepted it. Raises
        :class:`~meshp2p.errors.UnknownMessage` if no node knows the message."""
        response = await self._requests.send("GET", f"/messages/status/{segment(message_id, 'message_id')}", None)
        if response.status_code == 404:
            raise UnknownMessage(f"message {message_id!r}: no node knows it, or remembers it any longer")
        return made(response, lambda: tuple(map(receipt_of, decode(response, MessageStatusResponse).recipients)))

    async def health(self) -> dict[str, Any]:
        """Return the status, version and uptime of the node that answers."""
        return msgspec.structs.asdict(await self._request("GET", "/health", HealthResponse))

    async def _request(
        self, method: str, path: str, shape: type[_T], body: object = None, *, accepted: tuple[int, ...] = (200,)
    ) -> _T:
        response = await self._requests.send(method, path, body)
        return made(response, lambda: decode(response, shape), accepted)


class _Mailbox:
    """The link from a message that was read over HTTP to its node."""

    def __init__(self, client: MeshClient, owner: str) -> None:
        self._client = client
        self._owner = owner

    async def acknowledge_received(self, message: ReceivedMessage) -> None:
        await self._client.acknowledge(self._owner, [message.id])

    async def reply_to(self, message: ReceivedMessage, payload: EncodedPayload) -> str:
        kind = REPLY_KINDS.get(message.kind, RESPONSE)
        correlation_id = message.correlation_id or message.id
        return await self._client.send(
            message.source, payload, source=self._owner, kind=kind, correlation_id=correlation_id
        )

    async def wait(self, function: Callable[[], Awaitable[_T]], timeout: float | None, what: str) -> _T:
        check_timeout(timeout)
        with anyio.move_on_after(timeout):
            return await function()
        raise WaitTimeout(f"{what} within {timeout:g} s")


def _names(field: str, names: Iterable[str]) -> list[str]:
    """Return strings that can be part of a record. Raises :class:`~meshp2p.errors.ConfigError`."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigError(f"{field} = {names!r:.80}: expected a list of strings")
    listed = list(names)
    for index, name in enumerate(listed):
        check_name(f"{field}[{index}]", name)
    return listed
