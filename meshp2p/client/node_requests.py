"""Requests to the first of several nodes that answers, and the errors that its answer stands for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Final, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit

import anyio
import httpx
import msgspec

from meshp2p.client.verification import make_context
from meshp2p.core.address import parse_endpoint
from meshp2p.errors import (
    ConfigError,
    InstanceConflict,
    LimitExceeded,
    MailboxFull,
    MeshError,
    RequestRefused,
    StoreFull,
    Unreachable,
)
from meshp2p.node.arguments import check_seconds
from meshp2p.node.config import check_name, is_loopback
from meshp2p.wire.contract import ErrorBody
from meshp2p.wire.event_contract import HEARTBEAT_SECONDS

__all__ = [
    "FAILURES",
    "NodeRequests",
    "Response",
    "Transport",
    "client_transport",
    "decode",
    "error_text",
    "made",
    "refusal",
    "segment",
]

_T = TypeVar("_T")

_TOKEN_MAX: Final = 4096

Response: TypeAlias = httpx.Response
Transport: TypeAlias = httpx.AsyncBaseTransport

FAILURES: Final = (httpx.HTTPError,)
"""The errors of reading an answer that is a stream."""

STREAM_SECONDS_MAX: Final = 3 * HEARTBEAT_SECONDS
"""The longest silence of a stream."""

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)

client_transport: Final[ContextVar[Callable[[], Transport] | None]] = ContextVar(
    "meshp2p.client_transport", default=None
)
"""Makes the transport of each :class:`~meshp2p.MeshClient` that is created in this context without one. None uses the
network of this machine.

:mod:`meshp2p.testing` sets it.
"""

_ERRORS: Final[dict[int, type[MeshError]]] = {
    409: InstanceConflict,
    413: LimitExceeded,
    429: MailboxFull,
    507: StoreFull,
}


class NodeRequests:
    """Requests to nodes: see :class:`~meshp2p.MeshClient`."""

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        timeout: float,
        token: str | None,
        credentials: str | os.PathLike[str] | None,
        ca: str | os.PathLike[str] | None,
        transport: Transport | None,
    ) -> None:
        if not isinstance(urls, Iterable):
            raise ConfigError(f"urls = {urls!r:.80}: expected a base URL, or several")
        check_seconds("timeout", timeout)
        token = _checked_token(token)
        is_secured = credentials is not None or ca is not None
        self._urls = [
            _base_url(url, is_secured=is_secured, has_token=token is not None)
            for url in ([urls] if isinstance(urls, str) else urls)
        ]
        if not self._urls:
            raise ConfigError("urls is empty: expected at least one base URL, such as http://127.0.0.1:7700")
        self._timeout = timeout
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        make_transport = client_transport.get()
        if transport is None and make_transport is not None:
            transport = make_transport()
        verify = make_context(credentials, ca)
        self._client = httpx.AsyncClient(
            verify=verify, timeout=timeout, headers=headers, transport=transport, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str] | None = None,
        *,
        timeout_more: float = 0.0,
        is_repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
        is_stream: bool = False,
    ) -> httpx.Response:
        """Return the first answer other than 503. From then on its URL is asked first.

        Each node has ``timeout`` and ``timeout_more`` seconds to answer. If the request is not repeatable, it goes to
        the next node only if it did not reach this one. The body of a stream is not read: the caller closes the answer.
        Raises :class:`~meshp2p.errors.Unreachable`.
        """
        failures: list[str] = []
        timeout = self._timeout + timeout_more
        connect_timeout = timeout if is_repeatable else self._timeout / 2  # so that it ends before the other one
        content = None if body is None else msgspec.json.encode(body)
        all_headers = {**(headers or {}), **({} if body is None else {"content-type": "application/json"})}
        read_timeout = STREAM_SECONDS_MAX if is_stream else timeout
        for url in list(self._urls):
            target = url.rstrip("/") + path
            try:
                with anyio.fail_after(timeout):  # httpx's own is per read, and a slow answer has many
                    request = self._client.build_request(
                        method,
                        target,
                        content=content,
                        params=query,
                        headers=all_headers,
                        timeout=httpx.Timeout(timeout, connect=connect_timeout, read=read_timeout),
                    )
                    response = await self._client.send(request, stream=is_stream)
                    if is_stream and response.status_code != 200:
                        await response.aread()
            except TimeoutError:
                failures.append(f"{url}: no answer in {timeout:g} s")
                if not is_repeatable:
                    break
            except httpx.HTTPError as error:
                failures.append(f"{url}: {_reason(error)}")
                if not is_repeatable and not isinstance(error, _NOT_SENT):
                    break
            else:
                if response.status_code != 503:
                    if url != self._urls[0]:
                        self._urls.remove(url)
                        self._urls.insert(0, url)
                    return response
                failures.append(f"{url}: {error_text(response)}")
        raise Unreachable(f"no node answered {method} {path}: {'; '.join(failures)}")


def made(response: httpx.Response, make: Callable[[], _T], accepted: tuple[int, ...] = (200,)) -> _T:
    """Return the result of ``make``, which reads the answer. Raises the errors of :class:`~meshp2p.MeshClient` for a
    status that is not accepted, and :class:`RequestRefused` if ``make`` cannot read the answer."""
    if response.status_code not in accepted:
        raise refusal(response)
    try:
        return make()
    except (ValueError, RecursionError) as error:
        raise RequestRefused(
            response.status_code, f"{response.url} gave an answer that no node gives: {error}"
        ) from None


def decode(response: httpx.Response, shape: type[_T]) -> _T:
    return msgspec.json.decode(response.content, type=shape)


def refusal(response: httpx.Response) -> MeshError:
    kind = _ERRORS.get(response.status_code)
    return RequestRefused(response.status_code, error_text(response)) if kind is None else kind(error_text(response))


def error_text(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=ErrorBody).error
    except (ValueError, RecursionError):
        return response.text[:200] or response.reason_phrase


def segment(name: str, field: str = "instance_id") -> str:
    """Return an id as one segment of a path. Dots are escaped in ``.`` and ``..``, which clients would remove from the
    path. Raises :class:`ConfigError`."""
    check_name(field, name)
    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if quoted in (".", "..") else quoted


def _reason(error: httpx.HTTPError) -> str:
    """Describe an error. Under trio, a refused certificate is described by the cause of the error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return str(error) or type(error).__name__
    why = getattr(cause, "verify_message", "") or str(cause)
    return (
        f"the certificate of the node is not accepted: {why} (a node of a secured mesh is verified with credentials= or"
        " --mesh, or with ca= and what meshp2p ca prints)"
    )


def _checked_token(token: object) -> str | None:
    """Return the token without blanks around it, such as the newline at the end of a file. Raises
    :class:`ConfigError`, which does not show the token."""
    if token is None:
        return None
    text = token.strip() if isinstance(token, str) else ""
    if not 1 <= len(text) <= _TOKEN_MAX or not text.isascii() or not text.isprintable() or " " in text:
        shown = f"{type(token).__name__} of {len(text)} characters"
        raise ConfigError(f"token = {shown}: expected what meshp2p token prints, at most {_TOKEN_MAX} characters")
    return text


def _base_url(text: str, *, is_secured: bool, has_token: bool) -> str:
    """Return the base URL for a URL or ``HOST:PORT``. Raises :class:`ConfigError`."""
    if not isinstance(text, str):
        raise ConfigError(f"URL {text!r:.80}: expected a base URL such as http://127.0.0.1:7700")
    url = text
    if "://" not in text:
        endpoint = parse_endpoint(text)
        is_remote = not is_loopback(endpoint.host)
        url = f"{'https' if is_secured or (has_token and is_remote) else 'http'}://{endpoint}"
    is_clear = True
    try:
        parts = urlsplit(url)
        is_clear = parts.scheme == "http" and not is_loopback(parts.hostname or "")
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_right = is_right and not parts.query and not parts.fragment and url.isprintable() and " " not in url
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        is_right = False
    if not is_right:
        raise ConfigError(f"URL {url!r}: expected a base URL such as http://127.0.0.1:7700")
    if has_token and is_clear:
        raise ConfigError(f"URL {url!r}: a token is not sent in clear to another machine: expected https://")
    return url
