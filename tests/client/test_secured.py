"""The client in a secured mesh: how it verifies nodes, and shows who it is."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.cli import ask, main
from meshp2p.cli.ask import open_client
from meshp2p.client import MeshClient
from meshp2p.errors import ConfigError, NotInvited, RequestRefused, StoreError, Unreachable
from meshp2p.store.credential_bundle import bundle_of
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.store.private_files import write_secret
from meshp2p.trust.tokens import issue_token
from tests.http.meshes import QUICK
from tests.node.users import Users

OPTIONS: dict[str, Any] = {
    "id": "home",
    "host": "127.0.0.1",
    "port": 0,
    "mdns": False,
    "mesh": "studio",
    "protocol": QUICK,
}


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Users:
    return Users(tmp_path, monkeypatch)


@pytest.fixture
def anna(users: Users) -> CredentialDirectory:
    _, directory = users.found("anna")
    return directory


def token_of(directory: CredentialDirectory, *scopes: str) -> str:
    return issue_token(directory.load(), "somebody", scopes, int(time.time() + 60))[0]


async def members(*where: str, **how: Any) -> list[str]:
    async with MeshClient(where, **how) as client:
        return [member.id for member in await client.members()]


async def test_a_member_needs_no_token(anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node:
        address = str(node.addresses[0])
        for where in (address, f"https://{address}"):
            for credentials in ("studio", anna.path, str(anna.path)):
                assert await members(where, credentials=credentials) == ["home"]
        with pytest.raises(RequestRefused, match="401"):
            await members(address)
        in_asyncio = await trio.to_thread.run_sync(lambda: asyncio.run(members(address, credentials="studio")))
        assert in_asyncio == ["home"]


async def test_a_program_without_credentials_needs_a_token_and_the_root(
    anna: CredentialDirectory, tmp_path: Path
) -> None:
    ca = tmp_path / "studio.pem"
    ca.write_bytes((anna.path / "root.pem").read_bytes())
    token = token_of(anna, "read", "agent:painter")
    async with meshp2p.open_node(**OPTIONS) as node:
        address = str(node.addresses[0])
        with pytest.raises(RequestRefused, match="401: an HTTPS request needs a token"):
            await members(address, ca=ca)
        with pytest.raises(Unreachable, match=r"certificate of the node is not accepted.*ca="):
            await members(f"https://{address}", token=token)
        assert await members(address, token=token) == ["home"]  # in clear, as it does not leave the machine
        async with MeshClient(address, token=f"{token}\n", ca=ca) as client:
            await client.register("painter", "h", 1)
            assert await client.messages("painter") == []
            with pytest.raises(RequestRefused, match="403: this caller may not act as instance 'home'"):
                await client.messages("home")


async def test_a_client_refuses_whom_the_mesh_does_not_vouch_for(
    users: Users, anna: CredentialDirectory, tmp_path: Path
) -> None:
    _, impostor = users.found("impostor")
    async with meshp2p.open_node(**OPTIONS) as node:
        for how in ({"credentials": anna.path}, {"ca": anna.path / "root.pem", "token": token_of(anna, "read")}):
            with pytest.raises(Unreachable, match="certificate of the node is not accepted"):
                await members(str(node.addresses[0]), **how)
        assert await members(str(node.addresses[0]), credentials=impostor.path) == ["home"]


async def test_a_client_knows_nodes_by_their_chain_and_refuses_revoked_ones(
    users: Users, anna: CredentialDirectory
) -> None:
    carl = users.invite(anna, "carl")
    bert = users.invite(anna, "bert")
    assert bert.load().key.fingerprint not in carl.load().trust.machines  # he was invited later
    users.act("bert")
    async with meshp2p.open_node(**OPTIONS) as node:
        address = str(node.addresses[0])
        credential = anna.load()  # the node has carl's machine from its inviter's map
        bert.update_trust(credential)
        assert await members(address, credentials=anna.path) == ["home"]
        async with MeshClient(address, credentials=carl.path) as client:
            assert [member.id for member in await client.members()] == ["home"]
            credential.trust.revoke(credential.key, bert.load().key.fingerprint)
            carl.update_trust(credential)
        with pytest.raises(Unreachable, match="revoked"):
            await members(address, credentials=carl.path)


async def test_commands_use_the_credential_of_the_user(
    users: Users, anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node:
        options = argparse.Namespace(node=str(node.addresses[0]), mesh="studio")
        async with open_client(options) as client:
            assert [member.id for member in await client.members()] == ["home"]
        users.act("nobody")
        async with open_client(options) as client:
            with pytest.raises(RequestRefused, match="401"):
                await client.members()


async def test_commands_use_an_exported_credential_or_a_token(
    users: Users, anna: CredentialDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, ca = tmp_path / "service.pem", tmp_path / "studio.pem"
    write_secret(exported, bundle_of(anna.load()))
    ca.write_bytes((anna.path / "root.pem").read_bytes())
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node:
        users.act("nobody")
        address = str(node.addresses[0])

        async def ask(where: str, **variables: str) -> list[str]:
            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(f"MESHP2P_{name}", value)
                async with open_client(argparse.Namespace(node=where, mesh=None)) as client:
                    return [member.id for member in await client.members()]

        assert await ask(address, CREDENTIALS=str(exported)) == ["home"]
        token = token_of(anna, "read")
        assert await ask(f"https://{address}", TOKEN=token, CA=str(ca)) == ["home"]
        with pytest.raises(RequestRefused, match="401"):
            await ask(address, TOKEN=f"{token}x")
        with pytest.raises(Unreachable, match="certificate of the node is not accepted"):
            await ask(f"https://{address}", TOKEN=token)


async def test_commands_search_for_all_nodes_only_if_the_first_is_none_of_the_mesh(
    anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meshp2p.open_node(**OPTIONS) as node:
        own, wrong = node.addresses[0], meshp2p.Address("127.0.0.1", 1)
        searches: list[int | None] = []
        first: list[meshp2p.Address] = []

        async def find(mesh: str, *, enough: int | None = 1) -> list[tuple[meshp2p.Address, ...]]:
            searches.append(enough)
            return [(first[-1],)] if enough == 1 else [(wrong,), (own,)]

        monkeypatch.setattr(ask, "find_announced", find)
        for address, expected in ((own, [1]), (wrong, [1, None])):
            first.append(address)
            searches.clear()
            async with open_client(argparse.Namespace(node=None, mesh="studio")) as client:
                assert [member.id for member in await client.members()] == ["home"]
            assert searches == expected


async def test_commands_search_once_if_no_node_is_seen(
    anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[int | None] = []

    async def find(mesh: str, *, enough: int | None = 1) -> list[tuple[meshp2p.Address, ...]]:
        searches.append(enough)
        return []

    monkeypatch.setattr(ask, "find_announced", find)
    monkeypatch.setattr(ask, "DEFAULT_PORT", 1)
    with pytest.raises(
        Unreachable, match=r"no node of mesh 'studio' was seen .* answers at http://127\.0\.0\.1:1: start"
    ):
        async with open_client(argparse.Namespace(node=None, mesh="studio")):
            pass
    assert searches == [1]


async def test_a_caller_that_may_not_register_is_told_how_to_ask(
    users: Users, anna: CredentialDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with meshp2p.open_node(**OPTIONS) as node:
        users.act("nobody")
        monkeypatch.setenv("MESHP2P_TOKEN", token_of(anna, "read"))
        code = await trio.to_thread.run_sync(main, ["query", "home", "1", "--node", str(node.addresses[0])])
        assert code == 2
        assert "asks as a registered agent of its own, with --from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("where", "how", "message"),
    [
        ("http://192.0.2.7:7700", {"token": "t"}, "not sent in clear"),
        ("http://node.example", {"token": "t"}, "not sent in clear"),
        ("127.0.0.1:7700", {"token": ""}, "expected what meshp2p token prints"),
        ("127.0.0.1:7700", {"token": "a b"}, "expected what meshp2p token prints"),
        ("127.0.0.1:7700", {"token": "a\nb"}, "expected what meshp2p token prints"),
        ("127.0.0.1:7700", {"token": "x" * 5000}, "expected what meshp2p token prints"),
        ("127.0.0.1:7700", {"credentials": "office"}, "run meshp2p join"),
        ("127.0.0.1:7700", {"credentials": 7}, "expected a path"),
        ("127.0.0.1:7700", {"ca": "/nowhere"}, "expected a file of certificates"),
        ("127.0.0.1:7700", {"ca": __file__}, "expected a file of certificates"),
        ("127.0.0.1:7700", {"ca": "a", "credentials": "b"}, "expected one of them"),
        ("127.0.0.1:7700", {"ca": "a\0"}, "null byte"),
    ],
)
def test_wrong_arguments_are_named(users: Users, where: str, how: dict[str, Any], message: str) -> None:
    users.act("nobody")
    with pytest.raises((ConfigError, NotInvited), match=message):
        MeshClient(where, **how)


def test_a_directory_without_a_credential_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        MeshClient("127.0.0.1:7700", credentials=tmp_path)


def test_a_token_for_another_machine_takes_https() -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("192.0.2.7:7700", {"token": "t"}, "https://192.0.2.7:7700"),
        ("[2001:db8::7]:7700", {"token": "t"}, "https://[2001:db8::7]:7700"),
        ("127.0.0.1:7700", {"token": "t"}, "http://127.0.0.1:7700"),
        ("192.0.2.7:7700", {}, "http://192.0.2.7:7700"),
    ]
    for where, how, url in cases:
        assert MeshClient(where, **how)._requests._urls == [url]
