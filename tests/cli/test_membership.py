"""The commands of secured meshes: what they accept, print, keep and return."""

from __future__ import annotations

import io
import json
import re
import stat
import sys
from pathlib import Path

import pytest
import trio

from meshp2p.cli import joining as joining_commands
from meshp2p.cli import main, membership, revoking
from meshp2p.core.address import Address
from meshp2p.node.settings import JOIN_TOKEN_VARIABLE
from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust import revocation_room
from meshp2p.trust.keys import PrivateKey
from tests.node.users import Users


class Shell(Users):
    """Runs commands as users of this machine."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(directory, monkeypatch)
        self.patch = monkeypatch
        self._capsys = capsys

    def run(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        self.patch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(words)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def printed(self) -> str:
        return self._capsys.readouterr().out


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    async def nothing_announced() -> set[str]:
        return {"", "taken"}

    async def nobody_found(mesh: str, *, enough: int | None = 1) -> list[tuple[Address, ...]]:
        return []

    monkeypatch.setattr(membership, "_announced_names", nothing_announced)
    monkeypatch.setattr(revoking, "find_announced", nobody_found)
    made = Shell(tmp_path, monkeypatch, capsys)
    made.act("anna")
    return made


def test_a_mesh_is_made_once_and_listed(shell: Shell) -> None:
    code, out, _ = shell.run("init", "studio", "--label", "anna@laptop")
    assert (code, "meshp2p invite" in out) == (0, True)
    code, out, _ = shell.run("trust")
    assert code == 0
    assert re.search(r"anna@laptop  [0-9a-f]{16}  invited by the root  \(admin, may invite, this machine\)", out)
    code, out, _ = shell.run("trust", "--mesh", "studio", "--json")
    assert json.loads(out)["label"] == "anna@laptop"
    code, _, err = shell.run("init", "studio")
    assert (code, "already" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("init", "taken"), "is announced on this network"),
        (("init", ""), "mesh name"),
        (("init", "x", "--label", "a\nb"), "label"),
        (("trust",), "not in a secured mesh: run meshp2p join"),
        (("trust", "--mesh", "office"), "not in a secured mesh 'office'"),
        (("invite",), "not in a secured mesh"),
        (("root", "export", "file"), "not in a secured mesh"),
        (("join",), "no code was given"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_kept(shell: Shell, words: tuple[str, ...], why: str) -> None:
    code, out, err = shell.run(*words)
    assert (code, out, why in err) == (2, "", True), err
    assert Credentials(meshes_directory()).all() == []


@pytest.mark.parametrize(
    ("typed", "why"), [("7-gitar-tulip-amber", "did you mean 'guitar'"), ("7", "has 3 words"), ("m2-x", "not complete")]
)
def test_a_code_that_is_none_is_refused_before_anybody_is_asked(shell: Shell, typed: str, why: str) -> None:
    code, _, err = shell.run("join", "--at", "192.0.2.1:1", typed=typed)
    assert (code, why in err) == (2, True), err


def test_the_root_key_moves_to_a_file_that_nobody_else_may_read(shell: Shell, tmp_path: Path) -> None:
    shell.run("init", "studio")
    code, _, err = shell.run("root", "export", str(tmp_path / "root.key"))
    assert (code, "put it away" in err) == (0, True)
    assert stat.S_IMODE((tmp_path / "root.key").stat().st_mode) == 0o600
    PrivateKey.from_pem((tmp_path / "root.key").read_bytes())
    code, _, err = shell.run("root", "export", str(tmp_path / "again.key"))
    assert (code, "no root key" in err) == (2, True)


class Invitation:
    """``meshp2p invite`` in a thread, and what it printed."""

    def __init__(self, shell: Shell, words: tuple[str, ...]) -> None:
        self.lines: list[str] = []
        self.code: int | None = None
        self.port = 0
        self._ready = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        shell.patch.setattr(joining_commands, "write_line", self.lines.append)
        shell.patch.setattr(joining_commands, "warn", self._warned)
        self._words = words

    def _warned(self, text: str) -> None:
        self.lines.append(text)
        if match := re.search(r"at port (\d+)", text):
            self.port = int(match[1])
            self._token.run_sync_soon(self._ready.set)

    async def run(self) -> None:
        self.code = await trio.to_thread.run_sync(main, ["invite", "--host", "127.0.0.1", *self._words])

    async def secret(self) -> str:
        await self._ready.wait()
        return self.lines[0].rsplit(maxsplit=1)[-1]


@pytest.mark.parametrize(
    "words", [("trust",), ("root", "export", "file"), ("token",), ("ca",), ("invite",), ("revoke", "anna@laptop")]
)
def test_each_command_takes_the_mesh_from_the_environment(shell: Shell, words: tuple[str, ...]) -> None:
    for name in ("studio", "attic"):
        assert shell.run("init", name)[0] == 0
    code, _, err = shell.run(*words)
    assert (code, "several meshes fit" in err, "with --mesh or MESHP2P_MESH" in err) == (2, True, True), err
    shell.patch.setenv("MESHP2P_MESH", "elsewhere")
    code, _, err = shell.run(*words)
    assert (code, "this user is not in a secured mesh 'elsewhere'" in err) == (2, True), err
    shell.patch.setenv("MESHP2P_MESHES", "studio")
    assert "did you mean 'MESHP2P_MESH'" in shell.run(*words)[2]


async def test_two_users_are_in_one_mesh_after_three_commands(shell: Shell) -> None:
    await trio.to_thread.run_sync(shell.run, "init", "studio", "--label", "anna")
    invitation = Invitation(shell, ())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(invitation.run)
        code = await invitation.secret()
        shell.act("bert")
        shell.patch.setattr(sys, "stdin", io.StringIO(code))
        at = f"127.0.0.1:{invitation.port}"
        assert await trio.to_thread.run_sync(main, ["join", "--at", at, "--label", "bert"]) == 0
    assert invitation.code == 0
    assert "joined mesh 'studio', invited by anna" in invitation.lines
    for user in ("anna", "bert"):
        shell.act(user)
        found = Credentials(meshes_directory()).find("studio")
        assert found is not None
        assert [machine.label for machine in found.load().trust.machines.values()] == ["anna", "bert"]
    assert await trio.to_thread.run_sync(main, ["invite"]) == 1  # bert was not given that right


async def test_wrong_codes_end_an_invitation_with_an_error(shell: Shell) -> None:
    await trio.to_thread.run_sync(shell.run, "init", "studio")
    invitation = Invitation(shell, ())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(invitation.run)
        number, *words = (await invitation.secret()).split("-")
        wrong = "-".join((number, *(("acorn", "actor", "album") if words[0] != "acorn" else ("actor",) * 3)))
        shell.act("bert")
        for _ in range(3):
            shell.patch.setattr(sys, "stdin", io.StringIO(wrong))
            assert await trio.to_thread.run_sync(main, ["join", "--at", f"127.0.0.1:{invitation.port}"]) == 1
    assert invitation.code == 1
    assert "from 127.0.0.1, 127.0.0.1, 127.0.0.1" in invitation.lines[-1]
    assert Credentials(meshes_directory()).all() == []


async def test_a_token_lets_several_in_and_joining_twice_is_no_error(shell: Shell) -> None:
    await trio.to_thread.run_sync(shell.run, "init", "studio")
    invitation = Invitation(shell, ("--token", "--uses", "2", "--for", "1h"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(invitation.run)
        shell.patch.setenv(JOIN_TOKEN_VARIABLE, await invitation.secret())
        for user in ("one", "one", "two"):
            shell.act(user)
            assert await trio.to_thread.run_sync(main, ["join", "--at", f"127.0.0.1:{invitation.port}"]) == 0
    assert invitation.code == 0
    assert invitation.lines.count("this user is in the mesh already") == 1


@pytest.mark.parametrize("words", [("--uses", "2"), ("--token", "--uses", "0"), ("--for", "1 h"), ("--ids", "a*b*")])
def test_wrong_options_of_an_invitation_are_refused(shell: Shell, words: tuple[str, ...]) -> None:
    shell.run("init", "studio")
    shell.patch.setattr(joining_commands, "CODE_SECONDS", 0.0)
    try:
        code, _, _ = shell.run("invite", "--host", "127.0.0.1", *words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    assert code == 2


# Revoking


def directory_of(shell: Shell, user: str) -> CredentialDirectory:
    shell.act(user)
    return Credentials(meshes_directory()).all()[0]


def invite(shell: Shell, inviter: str, user: str, *, may_invite: bool = False) -> bytes:
    """Let the inviter invite a machine with the label of its user. Return the fingerprint of the machine."""
    invited = shell.invite(directory_of(shell, inviter), user, may_invite=may_invite)
    shell.act(inviter)
    return invited.load().key.fingerprint


@pytest.fixture
def family(shell: Shell) -> dict[str, bytes]:
    """Anna, who has the root's key, invited bert, and he carl."""
    shell.run("init", "studio", "--label", "anna")
    keys = {"anna": directory_of(shell, "anna").load().key.fingerprint}
    keys["bert"] = invite(shell, "anna", "bert", may_invite=True)
    keys["carl"] = invite(shell, "bert", "carl")
    anna, bert = directory_of(shell, "anna"), directory_of(shell, "bert")
    credential = anna.load()
    credential.trust.merge_untrusted(bert.load_statements())
    anna.update_trust(credential)
    anna.add_agents({(keys["bert"], "worker"): 3, (keys["carl"], "planner"): 1, (keys["carl"], "worker"): 1})
    shell.act("anna")
    return keys


def trusted(shell: Shell, user: str, keys: dict[str, bytes]) -> set[str]:
    trust = directory_of(shell, user).load().trust
    return {name for name, key in keys.items() if trust.is_trusted(key)}


@pytest.mark.parametrize("name", ["bert", "fingerprint"])
def test_a_machine_is_revoked_by_its_label_or_fingerprint(shell: Shell, family: dict[str, bytes], name: str) -> None:
    code, out, err = shell.run("revoke", family["bert"].hex()[:12].upper() if name == "fingerprint" else name)
    assert (code, "machine 'bert' is revoked" in out, "'carl', which it let in" in out) == (0, True, True), err
    assert trusted(shell, "anna", family) == {"anna"}
    code, out, _ = shell.run("revoke", "bert")
    assert (code, out) == (0, "it is revoked already: machine 'bert' was revoked by the root\n")


def test_a_machine_is_revoked_by_the_id_of_its_agent_and_its_guests_are_kept(
    shell: Shell, family: dict[str, bytes]
) -> None:
    anna = directory_of(shell, "anna")
    anna.add_agents({(family["bert"], "translator"): 1})
    assert shell.run("revoke", "translator", "--keep-invited")[0] == 0
    assert trusted(shell, "anna", family) == {"anna", "carl"}


def test_one_agent_is_revoked_on_every_machine_where_it_was_met(shell: Shell, family: dict[str, bytes]) -> None:
    code, out, _ = shell.run("revoke", "worker", "--only-agent")
    assert code == 0
    assert sorted(out.splitlines()) == [
        "agent 'worker' on machine 'bert' is revoked",
        "agent 'worker' on machine 'carl' is revoked",
    ]
    trust = directory_of(shell, "anna").load().trust
    assert [trust.is_trusted(family[name], agent="worker") for name in ("anna", "bert", "carl")] == [True, False, False]
    assert trusted(shell, "anna", family) == set(family)


def test_too_many_revocations_on_one_machine_are_an_error(
    shell: Shell, family: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_room, "REVOCATIONS_OF_AGENTS_MAX", 1)
    bert = family["bert"].hex()
    assert shell.run("revoke", "--token", f"{bert[:16]}-{1:016}")[0] == 0
    code, out, err = shell.run("revoke", "--token", f"{bert[:16]}-{2:016}")
    assert (code != 0, out) == (True, "")
    assert "revoke the machine instead" in err


def test_a_token_is_revoked_alone(shell: Shell, family: dict[str, bytes]) -> None:
    token = f"{family['bert'].hex()[:16]}-{'0' * 16}"
    code, out, _ = shell.run("revoke", "--token", token)
    assert (code, out) == (0, f"token '{token}' of machine 'bert' is revoked\n")
    trust = directory_of(shell, "anna").load().trust
    assert not trust.is_trusted(family["bert"], token=token)
    assert trust.is_trusted(family["bert"], token=token.replace("0", "1"))
    assert trusted(shell, "anna", family) == set(family)


@pytest.mark.parametrize(
    ("user", "words", "why"),
    [
        ("anna", ("nobody",), "no machine or agent 'nobody' is known here"),
        ("anna", ("nobody", "--only-agent"), "no agent 'nobody' is known here"),
        ("anna", ("worker",), "may be several machines: "),
        ("anna", ("anna",), "is this machine"),
        ("anna", (), "name the agent or machine"),
        ("anna", ("--token", "x"), "expected the jti of a token"),
        ("anna", ("bert", "--token", "x"), "or a token with --token"),
        ("anna", ("bert", "--root-key", "/nonexistent"), "cannot be read"),
        ("bert", ("anna",), "may not revoke 'anna'"),
        ("carl", ("bert",), "may not revoke 'bert'"),
    ],
)
def test_what_may_not_be_revoked_is_said_and_nothing_changes(
    shell: Shell, family: dict[str, bytes], user: str, words: tuple[str, ...], why: str
) -> None:
    shell.act(user)
    code, out, err = shell.run("revoke", *words)
    assert (code > 0, out, why in err) == (True, "", True), err
    assert trusted(shell, "anna", family) == set(family)
    assert trusted(shell, user, {user: family[user]}) == {user}


def test_an_inviter_revokes_whom_it_invited_and_the_root_key_anybody(
    shell: Shell, family: dict[str, bytes], tmp_path: Path
) -> None:
    shell.act("bert")
    assert shell.run("revoke", "carl")[0] == 0
    assert "carl" not in trusted(shell, "bert", family)
    shell.act("anna")
    shell.run("root", "export", str(tmp_path / "root.key"))
    shell.act("bert")
    assert shell.run("revoke", "anna", "--root-key", str(tmp_path / "root.key"))[0] == 0
    assert trusted(shell, "bert", family) == set()  # also bert, whom anna invited
    code, _, err = shell.run("revoke", "carl")
    assert code == 0
    (tmp_path / "root.key").chmod(0o644)
    code, _, err = shell.run("revoke", "carl", "--root-key", str(tmp_path / "root.key"))
    assert (code, "chmod 600" in err) == (2, True)


def test_a_revoked_machine_joins_again_in_place_of_what_it_had(shell: Shell, family: dict[str, bytes]) -> None:
    shell.run("revoke", "bert")
    bert = directory_of(shell, "bert")
    credential = bert.load()
    shell.act("bert")
    own = Credentials(meshes_directory())
    assert own.has(credential.mesh_id)
    credential.trust.merge_untrusted(directory_of(shell, "anna").load_statements())
    bert.update_trust(credential)
    assert not own.has(credential.mesh_id)
    code, _, err = shell.run("revoke", "carl")
    shell.act("bert")
    code, _, err = shell.run("invite")
    assert (code, "may not invite" in err) == (1, True)
    key = invite(shell, "anna", "bert")
    assert directory_of(shell, "bert").load().key.fingerprint == key
    assert [entry.name for entry in bert.path.parent.iterdir()] == [bert.path.name]
