"""The HTTP contract from the caller's side: for an agent that talks to a node instead of embedding one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec

from meshp2p.core.address import parse_endpoint
from meshp2p.core.message import IfAbsent, check_if_absent
from meshp2p.errors import ConfigError, RequestRefused, Unreachable
from meshp2p.wire.contract import (
    WAIT_SECONDS_MAX,
    ErrorBody,
    HealthResponse,
    HeartbeatResponse,
    InstanceDetail,
    InstancesResponse,
    LeaderResponse,
    MessageStatusResponse,
    PendingMessagesResponse,
    RegisterResponse,
    SendMessageResponse,
)

__all__ = ["MeshClient", "client_transport"]

_T = TypeVar("_T")

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

client_transport: Final[ContextVar[Callable[[], httpx.AsyncBaseTransport] | None]] = ContextVar(
    "meshp2p.client_transport", default=None
)
"""What makes the network of each :class:`MeshClient` that is made in this context and given none: a hook for
:mod:`meshp2p.testing`. None: this machine's."""


class MeshClient:
    """Calls any node of a mesh; all of them give the same answers.

    ``urls`` is one base URL or ``HOST:PORT``, or several. The one that answered last is asked first; if it cannot be
    reached, does not answer within ``timeout`` seconds or is not ready (503), the next is asked, each once a call. An
    async context manager, for trio and asyncio alike. ``token`` is sent as a bearer token. ``transport`` stands for the
    network, if that is not this machine's.

    Every call raises :class:`Unreachable` where no node answered, naming what each said, and :class:`RequestRefused`
    with the status where one refused. A message that may have been accepted is not sent to the next: then
    :class:`Unreachable` is raised, and whether it was is unknown. Raises :class:`ConfigError` for a URL that is none.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        timeout: float = 5.0,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._urls = [_base_url(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not self._urls:
            raise ConfigError("urls is empty: expected at least one base URL, such as http://127.0.0.1:7700")
        self._timeout = timeout
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        make_transport = client_transport.get()
        if transport is None and make_transport is not None:
            transport = make_transport()
        self._client = httpx.AsyncClient(timeout=timeout, headers=headers, transport=transport, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def register(
        self,
        instance_id: str,
        hostname: str,
        port: int,
        capabilities: Iterable[str] = (),
        agent_profiles: Iterable[str] = (),
    ) -> RegisterResponse:
        """Register an instance, or register it again. It must then heartbeat, every 5 s or so, or is removed after 15
        s."""
        body = {
            "instance_id": instance_id,
            "hostname": hostname,
            "port": port,
            "capabilities": list(capabilities),
            "agent_profiles": list(agent_profiles),
        }
        return await self._request("POST", "/registry/register", RegisterResponse, body)

    async def heartbeat(
        self, instance_id: str, status: str = "healthy", metrics: Mapping[str, Any] | None = None
    ) -> HeartbeatResponse:
        """A sign of life. Where the answer is not ``acknowledged`` the mesh does not know the instance: register it
        again."""
        body = {"status": status, "metrics": None if metrics is None else dict(metrics)}
        path = f"/registry/heartbeat/{_segment(instance_id)}"
        return await self._request("POST", path, HeartbeatResponse, body, accepted=(200, 404))

    async def deregister(self, instance_id: str) -> bool:
        """Take an instance off the list. Whether there was one."""
        response = await self._send("DELETE", f"/registry/deregister/{_segment(instance_id)}", None)
        if response.status_code not in (204, 404):
            raise _refusal(response)
        return response.status_code == 204

    async def list_instances(
        self, *, capability: str | None = None, profile: str | None = None, status: str | None = None
    ) -> InstancesResponse:
        """All live instances, or those that have what is named."""
        wanted = {"capability": capability, "profile": profile, "status": status}
        query = {name: value for name, value in wanted.items() if value is not None}
        return await self._request("GET", "/registry/agents", InstancesResponse, query=query)

    async def get_instance(self, instance_id: str) -> InstanceDetail | None:
        """All that is known of one instance; None where there is none of this id."""
        response = await self._send("GET", f"/registry/agents/{_segment(instance_id)}", None)
        return None if response.status_code == 404 else _decode(response, InstanceDetail, (200,))

    async def leader(self) -> LeaderResponse:
        """Who leads."""
        return await self._request("GET", "/registry/leader", LeaderResponse)

    async def send(
        self,
        source: str,
        payload: Any,
        *,
        target: str | None = None,
        kind: str | Mapping[str, str] = "Notification",
        correlation_id: str | None = None,
        is_error: bool = False,
        if_absent: IfAbsent = "refuse",
    ) -> SendMessageResponse:
        """Send a message from ``source`` to ``target``, or to all others where that is None. When this returns it is
        kept, and will be delivered.

        ``payload`` is what JSON has a form for, or ``msgspec.Raw`` for JSON that is to arrive byte for byte. ``kind``
        is one of the plain names, or ``{"Custom": name}``. ``is_error`` marks a Response or TaskResult that is an
        error: who asked gets a :class:`~meshp2p.errors.RemoteError`. A ``target`` that is not there is refused with
        400, a full mailbox with 429. With ``if_absent="queue"`` a message for a ``target`` that the mesh remembers as
        dead is kept until it is back, or until the message expires.
        """
        body = {
            "target_instance": target,
            "message_type": kind if isinstance(kind, str) else dict(kind),
            "payload": payload,
            "correlation_id": correlation_id,
            **({"is_error": True} if is_error else {}),
        }
        check_if_absent(if_absent)
        path = f"/messages/send/{_segment(source)}" + ("?if_absent=queue" if if_absent == "queue" else "")
        response = await self._send("POST", path, body, is_repeatable=False)
        return _decode(response, SendMessageResponse, (200,))

    async def messages(
        self, instance_id: str, *, wait: float = 0.0, limit: int | None = None, after: str | None = None
    ) -> PendingMessagesResponse:
        """What waits for an instance, oldest first; it stays there until it is acknowledged. Where there is nothing,
        wait so many seconds for a message, 60 at the most.

        ``limit`` bounds how many; ``after`` is the id of a message that was read, for those behind it.
        """
        if not 0 <= wait <= WAIT_SECONDS_MAX:
            raise ConfigError(f"wait = {wait!r}: expected 0 to {WAIT_SECONDS_MAX:g} seconds")
        wanted = {
            "wait": f"{wait:.3f}" if wait else None,
            "limit": None if limit is None else str(limit),
            "after": after,
        }
        query = {name: value for name, value in wanted.items() if value is not None}
        response = await self._send("GET", f"/messages/{_segment(instance_id)}", None, query, timeout_more=wait)
        return _decode(response, PendingMessagesResponse, (200,))

    async def acknowledge(self, instance_id: str, message_ids: Iterable[str]) -> None:
        """Take messages out of the mailbox of an instance, which has dealt with them. Ids that are not in it change
        nothing."""
        response = await self._send(
            "POST", f"/messages/ack/{_segment(instance_id)}", {"message_ids": list(message_ids)}
        )
        if response.status_code != 204:
            raise _refusal(response)

    async def message_status(self, message_id: str) -> MessageStatusResponse | None:
        """What became of a message, for each of its recipients; None where nobody knows it, or none does any more."""
        response = await self._send("GET", f"/messages/status/{_segment(message_id)}", None)
        return None if response.status_code == 404 else _decode(response, MessageStatusResponse, (200,))

    async def health(self) -> HealthResponse:
        """The version and age of the node that answers."""
        return await self._request("GET", "/health", HealthResponse)

    async def _request(
        self,
        method: str,
        path: str,
        shape: type[_T],
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        accepted: tuple[int, ...] = (200,),
    ) -> _T:
        return _decode(await self._send(method, path, body, query), shape, accepted)

    async def _send(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str] | None = None,
        *,
        timeout_more: float = 0.0,
        is_repeatable: bool = True,
    ) -> httpx.Response:
        """The first answer that is one, which may take ``timeout_more`` seconds longer than others. The URL that gave
        it is asked first from now on. What is not repeatable is sent to the next only where it did not reach this
        one."""
        failures: list[str] = []
        timeout = self._timeout + timeout_more
        connect_timeout = timeout if is_repeatable else self._timeout / 2  # so that it ends before the other one
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        for url in list(self._urls):
            target = url.rstrip("/") + path
            try:
                with anyio.fail_after(timeout):  # httpx's own is per read, and a slow answer has many
                    response = await self._client.request(
                        method,
                        target,
                        content=content,
                        params=query,
                        headers=headers,
                        timeout=httpx.Timeout(timeout, connect=connect_timeout),
                    )
            except TimeoutError:
                failures.append(f"{url}: no answer in {timeout:g} s")
                if not is_repeatable:
                    break
            except httpx.HTTPError as error:
                failures.append(f"{url}: {str(error) or type(error).__name__}")
                if not is_repeatable and not isinstance(error, _NOT_SENT):
                    break
            else:
                if response.status_code != 503:
                    if url != self._urls[0]:
                        self._urls.remove(url)
                        self._urls.insert(0, url)
                    return response
                failures.append(f"{url}: {_error_text(response)}")
        raise Unreachable(f"no node answered {method} {path}: {'; '.join(failures)}")


def _decode(response: httpx.Response, shape: type[_T], accepted: tuple[int, ...]) -> _T:
    if response.status_code not in accepted:
        raise _refusal(response)
    try:
        return msgspec.json.decode(response.content, type=shape)
    except (ValueError, RecursionError) as error:
        raise RequestRefused(
            response.status_code, f"{response.url} answered what is no {shape.__name__}: {error}"
        ) from None


def _refusal(response: httpx.Response) -> RequestRefused:
    return RequestRefused(response.status_code, _error_text(response))


def _error_text(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=ErrorBody).error
    except (ValueError, RecursionError):
        return response.text[:200] or response.reason_phrase


def _segment(instance_id: str) -> str:
    """An id as one segment of a path. Clients take the segments ``.`` and ``..`` out of a path unless their dots are
    escaped."""
    quoted = quote(instance_id, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def _base_url(text: str) -> str:
    """The base URL that a text stands for: a URL, or ``HOST:PORT``. Raises :class:`ConfigError`."""
    if not isinstance(text, str):
        raise ConfigError(f"URL {text!r:.80}: expected a base URL such as http://127.0.0.1:7700")
    url = text if "://" in text else f"http://{parse_endpoint(text)}"
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_right = is_right and not parts.query and not parts.fragment and url.isprintable() and " " not in url
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        is_right = False
    if not is_right:
        raise ConfigError(f"URL {url!r}: expected a base URL such as http://127.0.0.1:7700")
    return url
