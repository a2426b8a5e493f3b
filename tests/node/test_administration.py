"""Invitations and revocations over HTTP, for admins of the node's own machine: with real sockets."""

from __future__ import annotations

import re

import httpx
import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import MeshNode
from meshp2p.cli.joining import resolve
from meshp2p.errors import JoinFailed, Revoked, StartError, StoreError
from meshp2p.http.routes import ROUTES
from meshp2p.net.joining import join_at
from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.joining import NewcomerSide
from meshp2p.trust.spoken import parse_invitation
from tests.http.meshes import calling as calling_open
from tests.http.test_openapi import check_declared
from tests.node.test_http_callers import OPTIONS, Caller, calling, token_of
from tests.node.test_revocation import until_listed
from tests.node.test_secured import seed
from tests.node.users import Users

COMMAND = re.compile(r"echo (?P<code>\S+) \| meshp2p join --at (?P<at>\S+)")
REQUESTS = (
    ("POST", "/administration"),
    ("POST", "/invitation"),
    ("GET", "/invitation"),
    ("DELETE", "/invitation"),
    ("POST", "/revoke/two"),
)


@pytest.fixture
async def anna(users: Users) -> CredentialDirectory:
    return users.found("anna")[1]


def checked(name: str, response: httpx.Response) -> httpx.Response:
    """Return a response, which must be one that the description of the API declares."""
    check_declared(next(route for route in ROUTES if route.name == name), response)
    return response


async def key_of(node: MeshNode, directory: CredentialDirectory) -> dict[str, str]:
    """The proof of the live page that `meshp2p open --admin` opened."""
    async with calling(node, directory, shows=directory) as machine:
        made = checked("make_admin_key", await machine.ask("POST", "/administration"))
    assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
    return {"authorization": f"Bearer {made.json()['key']}"}


def bearer(directory: CredentialDirectory, *scopes: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token_of(directory, *scopes)}"}


async def join(command: str, label: str = "bert", code: str = "") -> MachineCredential:
    """What the command of an invitation does."""
    found = COMMAND.fullmatch(command)
    assert found is not None
    newcomer = NewcomerSide(parse_invitation(code or found["code"]), label)
    with trio.fail_after(60):
        return await join_at(await resolve(found["at"]), newcomer)


async def live_and_be_revoked(
    users: Users, credential: MachineCredential, home: MeshNode, caller: Caller, proof: dict[str, str]
) -> None:
    """Run the node "two" on the machine of bert, who has just joined, and have it revoked."""
    users.act("bert")
    Credentials(meshes_directory()).add(credential)
    async with meshp2p.open_node(**{**OPTIONS, "id": "two"}, join=seed(home)):
        await until_listed(home, "home", "two")
        revoked = checked("revoke", await caller.ask("POST", "/revoke/two", **proof))
        assert (revoked.status_code, revoked.json()) == (200, {"revoked": ["bert"]})
        await trio.sleep_forever()


async def test_a_machine_is_invited_and_revoked(users: Users, anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof = await key_of(node, anna)
        assert (await caller.ask("GET", "/status", **proof)).json()["actions"] == ["invite", "revoke"]
        made = checked("invite", await caller.ask("POST", "/invitation", **proof))
        assert (made.status_code, made.headers["cache-control"]) == (200, "no-store")
        invitation = made.json()
        assert invitation["is_open"]
        assert 590 < invitation["seconds_left"] <= 600
        credential = await join(invitation["command"])
        assert (credential.machine.may_invite, credential.machine.is_admin) == (False, False)
        shown = checked("invitation", await caller.ask("GET", "/invitation", **proof)).json()
        assert not shown["is_open"]
        assert [note.partition(",")[0] for note in shown["notes"]] == ["bert joined"]
        with pytest.raises(Revoked):
            await live_and_be_revoked(users, credential, node, caller, proof)
        await until_listed(node, "home")
        assert anna.load().trust.why_revoked(credential.key.fingerprint)
        assert (await caller.ask("POST", "/revoke/two", **proof)).status_code == 404


async def test_who_may_not_is_told_what_to_run_and_nothing_happens(users: Users, anna: CredentialDirectory) -> None:
    other = users.invite(anna, "other", may_invite=True, is_admin=True)
    users.act("anna")
    async with (
        meshp2p.open_node(**OPTIONS) as node,
        calling(node, anna) as https,
        calling(node, anna, shows=other) as other_machine,
        calling(node, anna, plain=True) as program,
    ):
        callers: list[tuple[Caller, dict[str, str]]] = [
            (https, bearer(anna, "read", "agent:*")),
            (https, bearer(anna, "read", "admin")),  # any node that was sent this token could use it
            (https, bearer(other, "read", "admin")),
            (other_machine, {}),
            (program, {}),
        ]
        for caller, headers in callers:
            for method, path in REQUESTS:
                refused = await caller.ask(method, path, **headers)
                assert refused.status_code == 403
                assert "`meshp2p invite` or `meshp2p revoke ID` on a machine that may" in refused.json()["error"]
            assert (await caller.ask("GET", "/status", **headers)).json()["actions"] == []
        key = await key_of(node, anna)
        wrong = {"authorization": key["authorization"][:-1] + "."}
        for method, path in REQUESTS:
            assert await https.status(method, path) == 401
            assert await https.status(method, path, **wrong) == 401
            assert await https.status(method, path, **key, origin="http://127.0.0.1:1") == 403
        assert await https.status("GET", "/invitation", **key) == 404, "nobody made one"


async def test_the_certificate_of_the_own_machine_needs_no_key(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, shows=anna) as caller:
        assert await caller.status("POST", "/invitation") == 200


async def test_a_key_counts_at_its_node_and_for_an_hour(
    anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, meshp2p.open_node(**{**OPTIONS, "id": "second"}) as second:
        key = await key_of(node, anna)
        async with calling(second, anna) as caller:
            assert await caller.status("POST", "/invitation", **key) == 401
        monkeypatch.setattr("meshp2p.http.sessions.ADMIN_SECONDS", 0)
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        assert await caller.status("POST", "/invitation", **await key_of(node, anna)) == 401


async def test_the_session_of_a_browser_does_not_count(anna: CredentialDirectory) -> None:
    """Its cookie goes to all programs of the host."""
    async with meshp2p.open_node(**OPTIONS) as node:
        url, key = f"http://127.0.0.1:{node.addresses[0].port}", await key_of(node, anna)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as browser:
            link = (await browser.post("/session", headers=bearer(anna, "read", "admin"))).json()["path"]
            assert (await browser.get(link)).status_code == 303
            for headers, status, actions in (
                ({"origin": url}, 403, []),
                ({"origin": url, **key}, 200, ["invite", "revoke"]),
            ):
                assert (await browser.post("/invitation", headers=headers)).status_code == status
                assert (await browser.get("/status", headers=headers)).json()["actions"] == actions


async def test_a_new_invitation_ends_the_one_before_and_it_can_be_ended(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof = await key_of(node, anna)
        first = (await caller.ask("POST", "/invitation", **proof)).json()
        second = (await caller.ask("POST", "/invitation", **proof)).json()
        with pytest.raises(JoinFailed, match="connection"):
            await join(first["command"])
        ended = checked("end_invitation", await caller.ask("DELETE", "/invitation", **proof))
        assert ended.status_code == 204
        assert await caller.status("DELETE", "/invitation", **proof) == 204
        with pytest.raises(JoinFailed, match="connection"):
            await join(second["command"])
        assert await caller.status("GET", "/invitation", **proof) == 404


async def test_of_several_that_are_asked_for_at_a_time_one_is_open(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof, made = await key_of(node, anna), []

        async def invite() -> None:
            made.append((await caller.ask("POST", "/invitation", **proof)).json()["command"])

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(invite)
        kept = (await caller.ask("GET", "/invitation", **proof)).json()["command"]
        for command in set(made) - {kept}:
            with pytest.raises(JoinFailed, match="connection"):
                await join(command)
        assert (await join(kept)).machine.label == "bert"


async def test_wrong_codes_are_noted_and_end_an_invitation(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof = await key_of(node, anna)
        invitation = (await caller.ask("POST", "/invitation", **proof)).json()
        wrong = f"{invitation['code'].partition('-')[0]}-acorn-acorn-acorn"
        for _ in range(3):
            with pytest.raises(JoinFailed, match="the code is wrong"):
                await join(invitation["command"], code=wrong)
        shown = (await caller.ask("GET", "/invitation", **proof)).json()
        assert not shown["is_open"]
        assert [note.endswith("gave a wrong code") for note in shown["notes"]] == [True] * 3


async def test_a_machine_that_may_not_invite_does_not(users: Users, anna: CredentialDirectory) -> None:
    users.invite(anna, "admin", is_admin=True)
    admin = Credentials(meshes_directory()).find("studio")
    assert admin is not None
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, admin) as caller:
        key = await key_of(node, admin)
        refused = await caller.ask("POST", "/invitation", **key)
        assert (refused.status_code, "run `meshp2p invite` on one that" in refused.text) == (403, True)
        assert (await caller.ask("GET", "/status", **key)).json()["actions"] == ["revoke"]


async def test_what_cannot_be_revoked_is_named(
    users: Users, anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof = await key_of(node, anna)
        await caller.ask("POST", "/registry/register", {
            "instance_id": "hosted", "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": [],
        }, **bearer(anna, "agent:*"))  # fmt: skip
        for name, status, why in (
            ("home", 409, "is on the machine of this node"),
            ("hosted", 404, "name an agent that embeds a node"),
            ("nobody", 404, "no node 'nobody' is listed"),
            ("x" * 129, 422, "128 bytes"),
        ):
            refused = await caller.ask("POST", f"/revoke/{name}", **proof)
            assert (refused.status_code, why in refused.json()["error"]) == (status, True)


async def test_an_invitation_that_cannot_be_served_is_an_error_and_the_node_lives(
    anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_port(*_arguments: object, **_options: object) -> object:
        raise StartError("no port is free")

    async def no_disk(*_arguments: object, **_options: object) -> None:
        raise StoreError("the disk is full")

    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna) as caller:
        proof = await key_of(node, anna)
        with monkeypatch.context() as patch:
            patch.setattr("meshp2p.node.inviting.open_sockets", no_port)
            refused = await caller.ask("POST", "/invitation", **proof)
            assert (refused.status_code, refused.json()["error"]) == (503, "no port is free")
        monkeypatch.setattr("meshp2p.node.security.TrustOnDisk.keep", no_disk)
        invitation = (await caller.ask("POST", "/invitation", **proof)).json()
        with pytest.raises(JoinFailed):
            await join(invitation["command"])
        with trio.fail_after(60):
            while not (shown := (await caller.ask("GET", "/invitation", **proof)).json())["notes"]:
                await trio.testing.wait_all_tasks_blocked(0.05)
        assert (shown["is_open"], shown["notes"]) == (False, ["the invitation ended: the disk is full"])
        assert await caller.status("GET", "/readyz") == 200


async def test_an_open_mesh_has_no_invitations() -> None:
    async with calling_open("a") as (caller, _):
        for method, path in REQUESTS:
            refused = await caller.ask(method, path)
            assert (refused.status_code, "this mesh is open" in refused.json()["error"]) == (404, True)
        assert (await caller.get("/status"))["actions"] == []
