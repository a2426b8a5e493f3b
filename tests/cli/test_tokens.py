"""``meshp2p token`` and ``meshp2p ca``."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from meshp2p.cli import main
from meshp2p.store.credentials import Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.certificates import Certificate
from meshp2p.trust.credential import found_mesh
from meshp2p.trust.tokens import verify_token
from tests.trust.builders import invite_credential

_, FIRST = found_mesh("studio", "anna@laptop")


@pytest.fixture(autouse=True)
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    Credentials(meshes_directory()).add(FIRST)


def test_a_token_names_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--agent", "translator-1", "--agent", "worker-*", "--for", "1h"]) == 0
    printed = capsys.readouterr()
    token = verify_token(printed.out.strip(), FIRST.trust, time.time())
    assert token.grant.ids == ("translator-1", "worker-*")
    assert (token.grant.may_read, token.grant.is_admin) == (True, False)
    assert 3590 < token.expires_at - time.time() < 3610
    assert token.id in printed.err


def test_scopes_are_those_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--scope", "admin"]) == 0
    grant = verify_token(capsys.readouterr().out.strip(), FIRST.trust, time.time()).grant
    assert (grant.ids, grant.may_read, grant.is_admin) == ((), False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agent", "a*b*c"], "id pattern 'a*b*c'"),
        (["--agent", ""], "id pattern ''"),
        (["--scope", "write"], "choose from"),
        (["--for", "soon"], "expected a number and s, m, h or d"),
        (["--mesh", "office"], "not in a secured mesh 'office'"),
        (["--agent", "x" * 2000], "id pattern"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["token", *arguments])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


def test_a_machine_says_what_it_may_not_grant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    invited = invite_credential(FIRST, "bert", ids="worker-*")
    own = Credentials(meshes_directory())
    for directory in own.all():
        directory.path.rename(tmp_path / "away")
    own.add(invited)
    for arguments, message in ((["--scope", "admin"], "the scope admin"), (["--agent", "leader"], "the id 'leader'")):
        assert main(["token", *arguments]) == 1
        printed = capsys.readouterr()
        assert (printed.out, f"machine 'bert' may not grant {message}" in printed.err) == ("", True)


def test_the_root_certificate_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ca"]) == 0
    printed = capsys.readouterr()
    assert Certificate.from_pem(printed.out.encode()).fingerprint == FIRST.root.fingerprint
    assert "PRIVATE" not in printed.out
