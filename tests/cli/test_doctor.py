"""``meshp2p doctor`` on this machine, as it is."""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections.abc import Awaitable
from pathlib import Path

import pytest

from meshp2p.cli import main
from meshp2p.cli.doctor import examination, verdict_of
from meshp2p.cli.doctor.examination import Examination
from meshp2p.cli.doctor.findings import Check, Findings, SeenNode
from meshp2p.cli.doctor.status import note_status
from meshp2p.core.address import Address
from meshp2p.core.calls import Pong, Probe, SyncReply, SyncRequest
from meshp2p.core.effects import Call
from meshp2p.core.record import Record, State
from meshp2p.discovery.advertisement import Advertisement
from meshp2p.node.config import NodeConfig
from meshp2p.node.inviting import INVITATION_PREFIX
from meshp2p.store.credentials import Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.credential import found_mesh
from meshp2p.wire.codec import Codec
from tests.http.meshes import open_mesh
from tests.net.service import CODEC, Node, running


def test_it_says_what_it_looked_at_and_who_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--seconds", "0.5", "--mesh", f"test-{secrets.token_hex(8)}", "--port", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["is_well"]
    assert report["nodes"] == []
    checks = {check["name"]: check for check in report["checks"]}
    assert {"interface", "port", "clock", "link", "mdns port"} <= set(checks)
    loopback = [check["text"] for check in report["checks"] if "127.0.0.1 (" in check["text"]]
    assert loopback == [f"127.0.0.1 ({checks_name(report)}): multicast and broadcast pass"]


def checks_name(report: dict[str, object]) -> str:
    """The name of the loopback interface."""
    return "lo" if "lo:" in str(report) else "lo0"


def test_a_seed_that_nobody_answers_at_is_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened to
        seed = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["doctor", "--seconds", "0.5", "--mesh", f"test-{secrets.token_hex(8)}", "--join", seed]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"broken   seed: {seed}") for line in lines)
    assert "this is broken" in lines[-1]


def test_a_name_that_has_no_address_is_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--seconds", "0.5", "--join", "no-such-host.invalid", "--host", "127.0.0.1"]) == 1
    assert "no-such-host.invalid" in capsys.readouterr().out


def test_what_no_option_says_comes_from_the_environment_and_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened to
        seed = f"127.0.0.1:{taken.getsockname()[1]}"
        file = tmp_path / "node.toml"
        file.write_text(f'mesh = "of-the-file"\nport = 0\njoin = ["{seed}"]\n')
        monkeypatch.setenv("MESHP2P_CONFIG", str(file))
        mesh = f"test-{secrets.token_hex(8)}"
        monkeypatch.setenv("MESHP2P_MESH", mesh)
        assert main(["doctor", "--seconds", "0.5", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["mesh"] == mesh
    assert [check["state"] for check in report["checks"] if check["name"] == "seed"] == ["broken"]
    told = [check["text"] for check in report["checks"] if check["name"] == "configuration"]
    assert told == [
        f"mesh {mesh!r}, bound to 127.0.0.1, any port, joins {seed}",
        "only this machine sees such a node",
    ]


def test_it_takes_the_arguments_of_a_node_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--id", "one", "--mesh", f"test-{secrets.token_hex(8)}", "--port", "0", "--preset", "lan", "--no-mdns"]
    words += ["--beacon", "--capability", "paint", "--profile", "painter", "--allow-host", "painter.example"]
    assert main(["doctor", "--seconds", "0.5", "--json", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "mdns port" not in {check["name"] for check in report["checks"]}


def test_in_a_secured_mesh_it_counts_the_nodes_and_calls_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    credentials = Credentials(meshes_directory())
    credentials.add(found_mesh("studio", "anna@laptop")[1])
    [own] = [one.load_announced_name() for one in credentials.all()]

    async def browse(*_: object, **__: object) -> list[Advertisement]:
        seen = [Advertisement(own, name, 1, (Address("127.0.0.1", 1),)) for name in ("a", "b", "a")]
        return [*seen, Advertisement(f"{INVITATION_PREFIX}7", "inviter", 1, ())]

    async def find_none(*_: object, **__: object) -> list[str]:
        return []

    monkeypatch.setattr(examination, "browse_once", browse)
    monkeypatch.setattr("meshp2p.cli.doctor.status.find_nodes", find_none)
    assert main(["doctor", "--seconds", "0.5", "--mesh", "studio", "--port", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any("'studio' is secured:" in check["text"] for check in report["checks"])
    assert not [check for check in report["checks"] if check["name"] == "node" or check["state"] == "broken"]
    assert (report["nodes"], report["other_names"]) == ([], [])
    assert report["verdict"] == "2 nodes of the secured mesh 'studio' can be seen; nothing is broken."


async def test_it_does_not_ask_itself_for_the_status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It listens at the port of the node, where it may look for a node when it has found none."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    Credentials(meshes_directory()).add(found_mesh("studio", "anna@laptop")[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def find(*_: object, **__: object) -> list[str]:
        return [f"127.0.0.1:{port}"]

    monkeypatch.setattr("meshp2p.cli.doctor.status.find_nodes", find)
    examined = Examination(NodeConfig.of(mesh="studio", port=port), 0.1)
    await examined.run()
    (check,) = [check for check in examined.findings.checks if check.name == "status"]
    assert f"all attempts to connect to 127.0.0.1:{port} failed" in check.text


def test_a_variable_that_is_none_is_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHP2P_MESCH", "lab")
    assert main(["doctor", "--seconds", "0.5"]) == 2
    assert "MESHP2P_MESH" in capsys.readouterr().err


def test_a_wrong_argument_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--port", "70000"]) == 2
    assert "port = 70000" in capsys.readouterr().err


async def test_members_that_cannot_be_called_directly_or_at_all_are_told_of() -> None:
    nowhere = Address("127.0.0.1", 1)
    records = [
        Record(name, 1, State.ALIVE, name, boot, (nowhere,), "h", 1, (), (), 1)
        for name, boot in (("hidden", 2), ("lost", 3))
    ]
    own = Record("one", 1, State.ALIVE, "one", 1, (nowhere,), "h", 1, (), (), 1)

    class Answering(Node):
        def answer_call(self, body: bytes, sender: bytes = b"") -> tuple[bytes | Awaitable[bytes], bool]:
            match CODEC.decode_request_untrusted(body):
                case SyncRequest():
                    return CODEC.encode(SyncReply(own, True, tuple(records), ())), False
                case Probe():
                    return CODEC.encode(Pong(self.name, self.boot, 0)), False
                case _:
                    return super().answer_call(body, sender)

    relay, hidden = Answering("one", 1), Answering("hidden", 2)
    async with running(relay, hidden):
        await hidden.peers.call(Call(1, (relay.address,), Probe(0), 5.0))
        relay.known = {"hidden": hidden}
        found = Examination(NodeConfig.of(mesh="default"), 1.0)
        found.findings.nodes = [SeenNode("one", [str(relay.address)], ["seed"], True)]
        await found._call_members()
    told = {check.state: check.text for check in found.findings.checks}
    assert "hidden is a member" in told["warning"]
    assert "one passes calls on to it" in told["warning"]
    assert "lost is a member" in told["broken"]
    assert [(node.id, node.is_reachable) for node in found.findings.nodes] == [
        ("one", True),
        ("hidden", False),
        ("lost", False),
    ]


def test_the_verdict_says_who_is_reached_then_what_is_broken_first_and_how_many_more() -> None:
    found = Findings()
    found.checks += [
        Check("port", "warning", "taken", "another"),
        Check("loopback", "broken", "no loopback", "bring it up"),
        Check("seed", "broken", "no seed", ""),
    ]
    verdict = verdict_of(found, "lab")
    assert verdict.startswith("nobody of mesh 'lab' can be reached, and this is broken")
    assert verdict.endswith("(and 1 more, above): no loopback: bring it up")
    found.nodes.append(SeenNode("a", ["192.0.2.1:7700"], ["mdns"], is_reachable=True))
    assert verdict_of(found, "lab").startswith(
        "1 node of mesh 'lab' on other machines can be reached, and this is broken"
    )
    assert not found.is_well


def test_the_verdict_tells_nodes_of_this_machine_from_others() -> None:
    found = Findings()
    found.nodes.append(SeenNode("here", ["127.0.0.1:7700"], ["mdns"], is_reachable=True, is_here=True))
    assert "1 node of mesh 'lab' of this machine can be reached, and none of another" in verdict_of(found, "lab")
    found.nodes.append(SeenNode("there", ["192.0.2.1:7700"], ["mdns"], is_reachable=True))
    assert verdict_of(found, "lab") == (
        "1 node of mesh 'lab' on other machines can be reached, and 1 node of this machine; nothing is broken."
    )


def test_the_verdict_asks_for_the_name_where_other_meshes_are_there() -> None:
    found = Findings()
    assert "nothing is broken here" in verdict_of(found, "lab")
    found.other_names |= {"a", "b"}
    assert "2 mesh(es) of other names" in verdict_of(found, "lab")


async def test_it_says_how_to_join_a_secured_mesh_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def browse(*_: object, **__: object) -> list[Advertisement]:
        return [Advertisement(f"{'0' * 32} studio", name, 1, ()) for name in ("a", "b", "a")]

    monkeypatch.setattr(examination, "browse_once", browse)
    examined = Examination(NodeConfig.of(mesh="studio", port=0), 0.5)
    await examined.run()
    (check,) = [check for check in examined.findings.checks if check.name == "mesh" and check.state == "broken"]
    assert check.text == "mesh 'studio' is on this network (2 nodes), and this machine is not in it"
    assert "`meshp2p join` here" in check.hint


async def test_it_repeats_what_a_node_says_of_the_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("a", "b") as [a, b]:
        found = Examination(NodeConfig.of(mesh="default"), 0.5).findings
        found.nodes = [SeenNode("b", [str(b.addresses[0])], ["seed"], True)]
        await note_status(NodeConfig.of(mesh="default"), found)
        [check] = found.checks
        assert (check.name, check.state) == ("status", "ok")
        assert check.text.startswith("b finds nothing wrong: 2 agents; both nodes agree; a leads")
        monkeypatch.setattr("meshp2p.node.verdict.UNREAD_SECONDS", 0.0)
        monkeypatch.setattr("meshp2p.node.status.CACHE_SECONDS", 0.0)
        await a.send("b", "\x1b[2J")
        found.nodes.append(SeenNode("a", [str(a.addresses[0])], ["seed"], True, is_here=True))
        await note_status(NodeConfig.of(mesh="default"), found)
        check = found.checks[-1]
        assert check.state == "warning"
        assert re.fullmatch(r"b has not read 1 message, the oldest for \d+ m?s \(seen from a\)", check.text)
        assert "still fetches its messages" in check.hint


async def test_no_status_is_no_fault_of_the_network() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened to
        found = Findings()
        found.nodes = [SeenNode("a", [f"127.0.0.1:{taken.getsockname()[1]}"], ["seed"], True)]
        await note_status(NodeConfig.of(mesh="default"), found)
    [check] = found.checks
    assert (check.name, check.state) == ("status", "warning")
    assert "no node gave the status of the mesh" in check.text
    assert found.is_well
    await note_status(NodeConfig.of(mesh="default"), empty := Findings())
    assert empty.checks == []


async def test_a_node_whose_process_is_stopped_is_told_apart_from_one_behind_a_firewall() -> None:
    # the system accepts connections for a process that does not run on
    other = Node("of another mesh", 1, codec=Codec("another"))
    with socket.socket() as stopped, socket.socket() as gone:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        gone.bind(("127.0.0.1", 0))
        accepted, refused = (f"127.0.0.1:{one.getsockname()[1]}" for one in (stopped, gone))
        found = Examination(NodeConfig.of(mesh="default"), 1.0)
        text, hint = await found._tell_stopped([refused, accepted], "c does not answer", "firewall")
        assert text == "c does not answer; connections are accepted there"
        assert hint.startswith("its process is stopped or stuck")
        async with running(other):
            for address in (refused, str(other.address)):
                assert await found._tell_stopped([address], "no answer", "firewall") == ("no answer", "firewall")
