"""Whole nodes of a secured mesh while a machine is revoked: with real sockets, and the files of each user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import MeshNode, Revoked
from meshp2p.cli import main
from meshp2p.errors import StoreError
from meshp2p.store.credential_bundle import CredentialBundle, bundle_of
from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.keys import PrivateKey
from tests.node.test_secured import OPTIONS, seed
from tests.node.users import Users


def revoke(
    root_key: PrivateKey, at: CredentialDirectory, lost: CredentialDirectory, *, agent: str = "", keep: bool = False
) -> None:
    """What ``meshp2p revoke`` does on the disk of a user."""
    credential = at.load()
    credential.trust.revoke(root_key, lost.load().key.fingerprint, agent=agent, keep_invited=keep)
    at.update_trust(credential)


async def echo(message: meshp2p.ReceivedMessage) -> object:
    return message.payload


async def until_listed(node: MeshNode, *ids: str) -> None:
    """Wait until the node lists these and no others."""
    with trio.fail_after(60):
        events = node.events()
        while {one.id for one in node.members()} != set(ids):
            await anext(events)


async def live(seed_node: MeshNode, *ids: str, then: Callable[[], None]) -> None:
    """Run a node with the last of these ids until it ends. When ``seed_node`` lists all of them, ``then`` is called."""
    async with meshp2p.open_node(id=ids[-1], join=seed(seed_node), **OPTIONS):
        await until_listed(seed_node, *ids)
        then()
        await trio.sleep_forever()


async def test_a_running_node_that_is_revoked_ends_with_an_error_that_names_the_remedy(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert, lost = users.invite(anna, "bert"), users.invite(anna, "lost")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            users.act("lost")

            async def run_three() -> None:
                async with meshp2p.open_node(id="three", join=seed(one), **OPTIONS) as three:
                    for node in (one, two, three):
                        await until_listed(node, "one", "two", "three")
                    revoke(root_key, anna, lost)
                    await trio.sleep_forever()

            with pytest.raises(Revoked, match=r"machine 'lost' was revoked by the root.*run: meshp2p join"):
                await run_three()
            await until_listed(one, "one", "two")
            await until_listed(two, "one", "two")
    for directory in (anna, bert, lost):
        assert not directory.load().trust.is_trusted(lost.load().key.fingerprint)


async def test_a_node_that_was_revoked_while_it_slept_learns_it_after_everybody_restarted(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert, lost = users.invite(anna, "bert"), users.invite(anna, "lost")
    revoke(root_key, anna, lost)
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await until_listed(two, "one", "two")
    assert not bert.load().trust.is_trusted(lost.load().key.fingerprint)
    assert lost.load().is_trusted  # it heard of nothing
    users.act("bert")
    async with meshp2p.open_node(id="two", **OPTIONS) as two:
        users.act("lost")
        with pytest.raises(Revoked, match="was revoked by the root"):
            async with meshp2p.open_node(id="three", join=seed(two), **OPTIONS):
                await trio.sleep_forever()
        assert [one.id for one in two.members()] == ["two"]
    assert not lost.load().is_trusted
    with pytest.raises(Revoked):
        async with meshp2p.open_node(id="three", **OPTIONS):
            pass


async def test_a_node_with_exported_credentials_remembers_a_revocation_in_its_data_directory(
    users: Users, tmp_path: Path
) -> None:
    root_key, anna = users.found("anna")
    service, lost = users.invite(anna, "service"), users.invite(anna, "lost")
    options = {**OPTIONS, "credentials": bundle_of(service.load()), "data_dir": tmp_path / "data"}
    users.act("anna")
    kept = CredentialBundle(options["credentials"], "", options["data_dir"])
    async with (
        meshp2p.open_node(id="one", **OPTIONS) as one,
        meshp2p.open_node(id="two", join=seed(one), **options) as two,
    ):
        await until_listed(two, "one", "two")
        revoke(root_key, anna, lost)
        with trio.fail_after(60):
            while kept.load().trust.is_trusted(lost.load().key.fingerprint):
                await trio.testing.wait_all_tasks_blocked(0.05)
    async with meshp2p.open_node(id="two", **options) as two:  # nobody tells it
        users.act("lost")
        with pytest.raises(Revoked, match="was revoked by the root"):
            async with meshp2p.open_node(id="three", join=seed(two), **OPTIONS):
                await trio.sleep_forever()
        assert [one.id for one in two.members()] == ["two"]
    revoke(root_key, anna, service)
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        with pytest.raises(Revoked):
            async with meshp2p.open_node(id="two", join=seed(one), **options):
                await trio.sleep_forever()
    with pytest.raises(Revoked, match="was revoked by the root"):  # it knows that by itself now
        async with meshp2p.open_node(id="two", **options):
            pass


async def test_what_a_revoked_machine_invited_is_out_with_it(users: Users) -> None:
    root_key, anna = users.found("anna")
    inviter = users.invite(anna, "inviter", may_invite=True)
    users.invite(inviter, "guest")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("guest")
        with pytest.raises(Revoked, match=r"machine 'inviter', which invited 'guest', was revoked"):
            await live(one, "one", "guest", then=partial(revoke, root_key, anna, inviter))
        await until_listed(one, "one")


async def test_what_a_revoked_machine_invited_can_be_kept(users: Users) -> None:
    root_key, anna = users.found("anna")
    inviter = users.invite(anna, "inviter", may_invite=True)
    guest = users.invite(inviter, "guest")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        one.handler("Query")(echo)
        users.act("guest")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await until_listed(two, "one", "two")
            revoke(root_key, anna, inviter, keep=True)
            with trio.fail_after(60):
                while guest.load().trust.is_trusted(inviter.load().key.fingerprint):  # it is on disk
                    await trio.testing.wait_all_tasks_blocked(0.05)
            assert await two.query("one", "hello", timeout=60) == "hello"


async def test_one_agent_is_revoked_and_the_other_agents_of_the_machine_stay(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert = users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="stays", join=seed(one), **OPTIONS) as stays:
            with pytest.raises(Revoked, match=r"agent 'goes' on machine 'bert' was revoked.*use another id"):
                await live(one, "one", "stays", "goes", then=partial(revoke, root_key, anna, bert, agent="goes"))
            await until_listed(one, "one", "stays")
            await until_listed(stays, "one", "stays")


async def test_a_machine_that_was_revoked_may_be_invited_again(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert = users.invite(anna, "bert")
    revoke(root_key, anna, bert)
    with pytest.raises(StoreError, match="in mesh 'studio' already"):
        users.invite(anna, "bert")  # it does not know yet that it was revoked
    credential = bert.load()
    credential.trust.merge_untrusted(anna.load_statements())
    bert.update_trust(credential)
    assert not Credentials(meshes_directory()).has(credential.mesh_id)
    users.invite(anna, "bert")
    assert Credentials(meshes_directory()).has(credential.mesh_id)
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await until_listed(one, "one", "two")
            await until_listed(two, "one", "two")


async def test_an_agent_whose_machine_was_invited_again_has_its_id_again(users: Users) -> None:
    root_key, anna = users.found("anna")
    bert = users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        with pytest.raises(Revoked):
            await live(one, "one", "two", then=partial(revoke, root_key, anna, bert))
        await until_listed(one, "one")
        users.invite(anna, "bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await until_listed(two, "one", "two")
            await until_listed(one, "one", "two")


async def test_the_command_tells_a_node_that_is_named_if_none_of_its_user_runs(
    users: Users, capsys: pytest.CaptureFixture[str]
) -> None:
    _, anna = users.found("anna")
    bert, lost = users.invite(anna, "bert", ids="worker-*"), users.invite(anna, "lost")
    users.act("bert")
    async with meshp2p.open_node(id="worker-1", **OPTIONS) as worker:
        users.act("anna")
        assert await trio.to_thread.run_sync(main, ["revoke", "lost", "--at", seed(worker)[0]]) == 0
        assert "meshp2p: nodes told: worker-1\n" in capsys.readouterr().err
    assert await trio.to_thread.run_sync(main, ["revoke", "lost", "--at", "127.0.0.1:1"]) == 1
    assert (
        "--at 127.0.0.1:1: the node there was not told: 127.0.0.1:1: [Errno 111] Connection refused\n"
        in capsys.readouterr().err
    )
    assert not bert.load().trust.is_trusted(lost.load().key.fingerprint)
