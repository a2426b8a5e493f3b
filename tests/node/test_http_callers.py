"""The rights of callers of the HTTP API of a secured mesh, and attacks on them: with real sockets."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import MeshNode, ProtocolConfig
from meshp2p.core.calls import Done, ForwardDeregister, Push
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.record import Rumour, SignedRecord, State
from meshp2p.errors import StartError
from meshp2p.recording.recording import is_recording
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.tokens import issue_token, verify_token
from tests.http.clients import Client
from tests.http.meshes import QUICK
from tests.node.test_revocation import revoke, until_listed
from tests.node.users import Users

OPTIONS: dict[str, Any] = {"id": "home", "port": 0, "mdns": False, "mesh": "studio", "in_loop": True, "protocol": QUICK}
REGISTRATION = {"instance_id": "painter", "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}
ACTS = [
    ("POST", "/registry/register", REGISTRATION),
    ("POST", "/registry/heartbeat/painter", {"status": "ok"}),
    ("POST", "/messages/send/painter", {"target_instance": None, "message_type": "Notification", "payload": 1}),
    ("GET", "/messages/painter", None),
    ("POST", "/messages/ack/painter", {"message_ids": []}),
    ("POST", "/messages/painter/ack", {"message_ids": []}),
    ("DELETE", "/registry/deregister/painter", None),
]
READS = ["/registry/agents", "/registry/agents/home", "/registry/leader", "/status"]
OPEN = ["/", "/health", "/livez", "/readyz"]


@pytest.fixture
async def anna(users: Users) -> CredentialDirectory:
    _, directory = users.found("anna")
    return directory


def token_of(directory: CredentialDirectory, *scopes: str, seconds: float = 60) -> str:
    return issue_token(directory.load(), "somebody", scopes, int(time.time() + seconds))[0]


def revoke_token(directory: CredentialDirectory, token: str) -> None:
    """Revoke one token by the key of the machine that issued it."""
    credential = directory.load()
    name = verify_token(token, credential.trust, 0).id
    credential.trust.revoke(credential.key, credential.key.fingerprint, token=name)
    directory.update_trust(credential)


class Caller:
    """Requests to one node."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.request(method, path, json=body, headers=named)

    async def stream(
        self, method: str, path: str, body: AsyncIterator[bytes], headers: dict[str, str]
    ) -> httpx.Response:
        return await self._client.request(method, path, content=body, headers=headers)

    async def status(self, method: str, path: str, body: object = None, **headers: str) -> int:
        return (await self.ask(method, path, body, **headers)).status_code

    async def statuses(self, token: str | None, **headers: str) -> dict[str, set[int]]:
        """The status of every kind of request."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return {
            "open": {await self.status("GET", path, **headers) for path in OPEN},
            "read": {await self.status("GET", path, **headers) for path in READS},
            "act": {await self.status(*act, **headers) for act in ACTS},
        }


def tls_of(credential: MachineCredential, directory: CredentialDirectory | None = None) -> ssl.SSLContext:
    """What a client of the mesh needs. With a directory it shows the certificate of that machine."""
    context = ssl.create_default_context(cadata=credential.root.to_pem().decode())
    if directory is not None:
        context.load_cert_chain(directory.path / "machine.pem", directory.path / "machine.key")
    return context


@contextlib.asynccontextmanager
async def calling(
    node: MeshNode, directory: CredentialDirectory, *, shows: CredentialDirectory | None = None, plain: bool = False
) -> AsyncIterator[Caller]:
    """A caller that verifies the node against the root of the mesh of ``directory``."""
    verify: ssl.SSLContext | bool = False if plain else tls_of(directory.load(), shows)
    url = f"{'http' if plain else 'https'}://{node.addresses[0]}"
    async with httpx.AsyncClient(base_url=url, verify=verify, trust_env=False) as client:
        yield Caller(client)


SUCCESS = {"open": {200}, "read": {200}, "act": {200, 204}}
UNKNOWN = {"open": {200}, "read": {401}, "act": {401}}


# What callers may do


async def test_programs_on_the_machine_read_and_act_without_a_token(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, plain=True) as caller:
        assert await caller.statuses(None) == SUCCESS


async def test_others_need_https_and_a_token(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        assert await caller.statuses(None) == UNKNOWN
        assert await caller.statuses(token_of(anna, "read", "agent:painter")) == SUCCESS
        assert await caller.statuses(token_of(anna, "agent:paint*")) == SUCCESS | {"read": {403}}
        assert await caller.statuses(token_of(anna, "read")) == SUCCESS | {"act": {403}}
        assert await caller.statuses(token_of(anna, "read", "agent:sculptor")) == SUCCESS | {"act": {403}}
        assert await caller.statuses(token_of(anna, "admin")) == {"open": {200}, "read": {403}, "act": {403}}
        refused = await caller.ask("GET", "/registry/agents")
        assert refused.headers["www-authenticate"] == 'Bearer realm="meshp2p"'


async def test_a_recording_is_for_programs_on_the_machine_and_for_admins(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node:
        async with calling(node, anna, plain=True) as caller:
            assert is_recording((await caller.ask("GET", "/recording")).content)
            assert await caller.status("GET", "/recording", x_forwarded_for="192.0.2.1") == 401
        async with calling(node, anna) as caller:
            assert await caller.status("GET", "/recording") == 401
            for scopes, status in ((("read", "agent:*"), 403), (("admin",), 200)):
                token = token_of(anna, *scopes)
                assert await caller.status("GET", "/recording", authorization=f"Bearer {token}") == status


async def test_a_client_certificate_does_instead_of_a_token(users: Users, anna: CredentialDirectory) -> None:
    bert = users.invite(anna, "bert", ids="paint*")
    carl = users.invite(anna, "carl", ids="sculpt*")
    users.act("anna")
    async with meshp2p.open_node(**OPTIONS) as node:
        async with calling(node, anna, shows=bert) as caller:
            assert await caller.statuses(None) == SUCCESS
        async with calling(node, anna, shows=carl) as caller:
            assert await caller.statuses(None) == SUCCESS | {"act": {403}}
        _, stranger = users.found("stranger", "studio")
        async with calling(node, anna, shows=stranger) as caller:
            with pytest.raises(httpx.HTTPError):
                await caller.ask("GET", "/health")


async def test_a_revocation_ends_what_a_certificate_and_tokens_grant_on_open_connections(
    users: Users, anna: CredentialDirectory
) -> None:
    bert = users.invite(anna, "bert")
    token = token_of(bert, "read", "agent:painter")
    users.act("anna")
    async with (
        meshp2p.open_node(**OPTIONS) as node,
        calling(node, anna, shows=bert) as shown,
        calling(node, anna) as caller,
    ):
        assert await shown.statuses(None) == await caller.statuses(token) == SUCCESS
        revoke(anna.load().key, anna, bert)
        assert await shown.statuses(None) == await caller.statuses(token) == UNKNOWN
        refused = await caller.ask("GET", "/registry/agents", authorization=f"Bearer {token}")
        assert "'bert': that machine was revoked" in refused.json()["error"]
        assert (await shown.ask("GET", "/registry/agents")).json()["error"] == "machine 'bert' was revoked"


async def test_a_revocation_removes_what_the_machine_registered(users: Users, anna: CredentialDirectory) -> None:
    bert = users.invite(anna, "bert")
    users.act("anna")
    lasting = ProtocolConfig(settle_timeout=0.05, instance_timeout=1000.0)
    async with meshp2p.open_node(**OPTIONS | {"protocol": lasting}) as node, calling(node, anna) as caller:
        for directory, instance_id in ((bert, "painter"), (anna, "sculptor")):
            headers = {"authorization": f"Bearer {token_of(directory, f'agent:{instance_id}')}"}
            body = {**REGISTRATION, "instance_id": instance_id}
            assert await caller.status("POST", "/registry/register", body, **headers) == 200
        await until_listed(node, "home", "painter", "sculptor")
        revoke(anna.load().key, anna, bert)
        await until_listed(node, "home", "sculptor")


async def test_a_revocation_holds_for_a_caller_that_waits_for_messages(anna: CredentialDirectory) -> None:
    token = token_of(anna, "agent:painter")
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        painter = {"authorization": f"Bearer {token}"}
        assert await caller.status(*ACTS[0], **painter) == 200
        answers: list[httpx.Response] = []
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                answers.append(await caller.ask("GET", "/messages/painter?wait=60", **painter))

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            revoke_token(anna, token)
            await node.send("painter", "secret")
        assert [answer.status_code for answer in answers] == [401]
        assert "secret" not in answers[0].text


@pytest.mark.parametrize(("method", "path", "sent"), [act for act in ACTS if act[2] is not None])
async def test_a_revocation_holds_for_a_request_whose_body_is_not_complete(
    anna: CredentialDirectory, method: str, path: str, sent: object
) -> None:
    is_registering = path == "/registry/register"
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        token = token_of(anna, "agent:painter")
        painter = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        if not is_registering:
            assert await caller.status(*ACTS[0], **painter) == 200

        async def body_in_two_parts() -> AsyncIterator[bytes]:
            body = json.dumps(sent).encode()
            yield body[:1]
            revoke_token(anna, token)
            yield body[1:]

        answer = await caller.stream(method, path, body_in_two_parts(), painter)
        assert answer.status_code == 401
        assert not (is_registering and "painter" in [member.id for member in node.members()])


async def test_a_token_can_be_revoked_alone(anna: CredentialDirectory) -> None:
    first, second = (token_of(anna, "read", "agent:painter") for _ in range(2))
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        assert await caller.statuses(first) == await caller.statuses(second) == SUCCESS
        revoke_token(anna, first)
        assert await caller.statuses(first) == UNKNOWN
        assert await caller.statuses(second) == SUCCESS
        refused = await caller.ask("GET", "/registry/agents", authorization=f"Bearer {first}")
        assert "revoked" in refused.headers["www-authenticate"]


async def test_require_token_closes_the_machine_too(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(require_token=True, **OPTIONS) as node, calling(node, anna, plain=True) as caller:
        assert await caller.statuses(None) == UNKNOWN
        assert await caller.statuses(token_of(anna, "read", "agent:painter")) == SUCCESS


async def test_require_token_starts_no_node_of_an_open_mesh(users: Users) -> None:
    users.act("nobody")
    with pytest.raises(StartError, match="is open, and has no tokens"):
        async with meshp2p.open_node(require_token=True, **OPTIONS):
            pass


async def test_a_machine_that_was_invited_for_some_ids_hosts_no_others(users: Users, anna: CredentialDirectory) -> None:
    bert = users.invite(anna, "bert", ids="worker-*")
    options = OPTIONS | {"id": "worker-1"}
    async with meshp2p.open_node(**options) as node, calling(node, bert, plain=True) as caller:
        assert (await caller.ask(*ACTS[0])).status_code == 403
        assert (await caller.ask("POST", "/registry/register", {**REGISTRATION, "instance_id": "worker-2"})).is_success
        token = f"Bearer {token_of(anna, 'read', 'agent:*')}"
    async with meshp2p.open_node(**options) as node, calling(node, anna) as caller:
        refused = await caller.ask(*ACTS[0], authorization=token)
        assert refused.status_code == 403
        assert "the machine of this node may not use the id" in refused.json()["error"]
        other = {**REGISTRATION, "instance_id": "worker-2"}
        assert (await caller.ask("POST", "/registry/register", other, authorization=token)).is_success


async def test_a_member_cannot_remove_the_instances_of_another_machine(users: Users, anna: CredentialDirectory) -> None:
    users.invite(anna, "bert", ids="worker-*")
    token = f"Bearer {token_of(anna, 'read', 'agent:*')}"
    path = f"/registry/agents/{REGISTRATION['instance_id']}"
    users.act("anna")
    async with meshp2p.open_node(**OPTIONS) as home, calling(home, anna) as caller:
        assert (await caller.ask(*ACTS[0], authorization=token)).is_success
        users.act("bert")
        options = OPTIONS | {"id": "worker-1", "in_loop": True, "join": [f"127.0.0.1:{home.addresses[0].port}"]}
        async with meshp2p.open_node(**options) as worker, calling(worker, anna) as other:
            await worker.wait_for_members(3, timeout=60)
            refused = await other.ask("DELETE", "/registry/deregister/painter", authorization=token)
            assert refused.status_code == 403
            assert "the machine of this node may not use the id" in refused.json()["error"]

            driver = worker._node._driver
            machine = driver.machine
            record, node = machine.claim_of("painter"), machine.claim_of(home.id)
            assert isinstance(record, SignedRecord)
            assert isinstance(node, SignedRecord)
            signer = machine._state.signer
            assert signer is not None
            gone = [signer.sign_rumour(Rumour("painter", record.incarnation, state, worker.id)) for state in State]
            for request in (ForwardDeregister("painter"), Push(0, tuple(gone[1:]))):
                reply = await driver._caller.call(Call(0, node.addresses, request, 30.0, home.id, node.boot))
                assert isinstance(reply, CallFailed if isinstance(request, ForwardDeregister) else Done), reply
            assert (await caller.ask("GET", path, authorization=token)).is_success
            assert (await other.ask("GET", path, authorization=token)).is_success
        assert (await caller.ask("DELETE", "/registry/deregister/painter", authorization=token)).is_success


async def test_callers_verify_a_node_by_its_names_and_addresses(anna: CredentialDirectory) -> None:
    options = OPTIONS | {"host": "0.0.0.0", "hostname": "atelier.example"}
    many = [f"10.0.0.{number}" for number in range(100)]  # more than a certificate names
    async with meshp2p.open_node(**options, allow_hosts=["board.example", *many]) as node:
        port = node.addresses[0].port
        for name in ("localhost", "127.0.0.1", "atelier.example", "board.example", node.addresses[0].host):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with trio.SSLStream(stream, tls_of(anna.load()), server_hostname=name, https_compatible=True) as tls:
                answer = await Client(tls).ask(f"GET /health HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                assert answer.status == 200
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(stream, tls_of(anna.load()), server_hostname="evil.example").do_handshake()
        await stream.aclose()


# Attacks


async def test_tokens_that_are_not_valid_are_refused_with_the_reason(users: Users, anna: CredentialDirectory) -> None:
    _, other = users.found("other", "studio")
    users.act("anna")
    good = token_of(anna, "read")
    header, claims, signature = good.split(".")
    none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    refused = {
        token_of(other, "read"): "a token for mesh",
        token_of(anna, "read", seconds=-1): "expired at",
        f"{none}.{claims}.": "Invalid enum value 'none'",
        f"{none}.{claims}.{signature}": "Invalid enum value 'none'",
        f"{header}.{claims}.{token_of(anna, 'read').split('.')[2]}": "the signature (token) is not by",
        "x": "expected three parts",
        "x" * 5000: "expected at most 4096",
    }
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        for token, why in refused.items():
            answer = await caller.ask("GET", "/registry/agents", authorization=f"Bearer {token}")
            assert answer.status_code == 401
            assert why in answer.json()["error"]
            assert why in answer.headers["www-authenticate"]
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        for scheme in ("x", "Bearer", f"Basic {good}", good):
            assert await caller.status("GET", "/registry/agents", authorization=scheme) == 401
        assert await caller.status("GET", "/registry/agents", authorization=f"bearer {good}") == 200


async def test_an_invalid_token_does_not_count_as_none_on_the_machine(anna: CredentialDirectory) -> None:
    expired = token_of(anna, "read", seconds=-1)
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, plain=True) as caller:
        assert await caller.statuses(expired) == UNKNOWN
        assert await caller.statuses(token_of(anna, "read")) == SUCCESS | {"act": {403}}


async def test_two_tokens_in_one_request_are_refused(anna: CredentialDirectory) -> None:
    header = f"Authorization: Bearer {token_of(anna, 'read')}\r\n"
    async with meshp2p.open_node(**OPTIONS) as node:
        stream = await trio.open_tcp_stream(node.addresses[0].host, node.addresses[0].port)
        async with stream:
            client = Client(stream)
            request = "GET /registry/leader HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
            assert (await client.ask(request.format(header).encode())).status == 200
            assert (await client.ask(request.format(header * 2).encode())).status == 401


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "x-forwarded-for", "X-Forwarded-Host", "X-Real-IP", "Via"]
)
async def test_what_a_proxy_on_the_machine_passes_on_needs_a_token(anna: CredentialDirectory, header: str) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, plain=True) as caller:
        for value in ("for=127.0.0.1", "127.0.0.1", ""):
            assert await caller.statuses(None, **{header: value}) == UNKNOWN
        token = token_of(anna, "read", "agent:painter")
        assert await caller.statuses(token, **{header: "192.0.2.7"}) == SUCCESS


async def test_a_web_page_does_not_reach_a_node_by_its_own_name_or_from_another_port(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, plain=True) as caller:
        rebound = {"host": "evil.example"}  # its name leads here now
        page = {"origin": "http://localhost:3000", "sec_fetch_site": "same-site"}
        image = {"sec_fetch_site": "cross-site"}
        for method, path, body in (("GET", "/registry/agents", None), *ACTS):
            assert await caller.status(method, path, body, **rebound) == 421
            assert await caller.status(method, path, body, **rebound, origin="http://evil.example") == 421
            assert await caller.status(method, path, body, **page) == 403
            assert await caller.status(method, path, body, **image) == 401
        own = {"origin": f"http://{node.addresses[0]}", "sec_fetch_site": "same-origin"}
        assert await caller.statuses(None, **own) == SUCCESS


async def test_nobody_reads_or_acknowledges_the_mailbox_of_another(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        painter = {"authorization": f"Bearer {token_of(anna, 'read', 'agent:painter')}"}
        thief = {"authorization": f"Bearer {token_of(anna, 'read', 'agent:thief')}"}
        assert await caller.status(*ACTS[0], **painter) == 200
        await node.send("painter", "secret")
        ids = [
            one["message_id"] for one in (await caller.ask("GET", "/messages/painter", **painter)).json()["messages"]
        ]
        assert len(ids) == 1
        for path in (
            "/messages/painter",
            "/messages/paint%65r",
            "/messages/%70ainter?wait=1",
            "/messages/painter?after=",
        ):
            assert await caller.status("GET", path, **thief) == 403
        for path in ("/messages/ack/painter", "/messages/painter/ack", "/messages/ack/%70ainter"):
            assert await caller.status("POST", path, {"message_ids": ids}, **thief) == 403
        assert await caller.status("POST", "/messages/ack/thief", {"message_ids": ids}, **thief) == 204
        assert await caller.status("POST", "/registry/register", REGISTRATION, **thief) == 403
        kept = (await caller.ask("GET", "/messages/painter", **painter)).json()["messages"]
        assert [one["message_id"] for one in kept] == ids


async def test_nobody_takes_over_an_instance_that_lives(users: Users, anna: CredentialDirectory) -> None:
    bert = users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(**OPTIONS) as one:
        users.act("bert")
        there = OPTIONS | {"id": "there", "join": [str(one.addresses[0])]}
        async with (
            meshp2p.open_node(**there) as two,
            calling(one, anna) as at_one,
            calling(two, anna) as at_two,
            calling(one, anna, plain=True) as program,
        ):
            await one.wait_for_members(2)
            painter, thief, admin = (
                {"authorization": f"Bearer {token_of(*granted)}"}
                for granted in ((anna, "agent:painter"), (bert, "read", "agent:*"), (anna, "agent:*", "admin"))
            )
            forged = {**REGISTRATION, "hostname": "evil.example", "port": 666}
            register, gone = ("POST", "/registry/register"), ("DELETE", "/registry/deregister/painter")
            assert await at_one.status(*register, REGISTRATION, **painter) == 200
            for _ in range(2):
                for caller, headers in ((at_one, thief), (at_two, thief), (program, {})):
                    refused = await caller.ask(*register, forged, **headers)
                    assert refused.status_code == 409
                    assert "registered by another caller" in refused.json()["error"]
                    assert await caller.status(*gone, **headers) == 409
                shown = (await at_two.ask("GET", "/registry/agents/painter", **thief)).json()
                assert (shown["hostname"], shown["port"]) == ("h", 1)
                # its owner may move to another node, and still nobody else takes it
                assert await at_two.status(*register, REGISTRATION, **painter) == 200
            assert await at_one.status(*register, forged, **admin) == 200
            assert await at_two.status(*gone, **admin) == 204
            assert await at_two.status(*register, forged, **thief) == 200


async def test_slow_and_endless_hellos_leave_room_for_callers(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        address = node.addresses[0]
        silent = [await trio.open_tcp_stream(address.host, address.port) for _ in range(100)]
        for stream in silent:
            await stream.send_all(b"\x16\x03\x01\x40\x00")  # a hello of 16 KiB is to come
        assert await caller.statuses(token_of(anna, "read", "agent:painter")) == SUCCESS
        for stream in silent:
            await stream.aclose()


async def test_no_session_is_resumed(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node:
        stream = await trio.open_tcp_stream(node.addresses[0].host, node.addresses[0].port)
        tls = trio.SSLStream(stream, tls_of(anna.load()), server_hostname="127.0.0.1", https_compatible=True)
        async with tls:
            assert (await Client(tls).ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
            assert tls.session is None or not tls.session.has_ticket
