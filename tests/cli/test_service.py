"""``meshp2p service``: the files, the commands that would run, and what is refused."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from meshp2p.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the arguments of each call of systemctl, which fails if the file ``fails`` exists."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    log = tmp_path / "ran"
    log.touch()
    program = binaries / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nif [ -e {tmp_path}/fails ]; then echo no bus >&2; exit 1; fi\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(binaries), prepend=os.pathsep)
    return log


def unit(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_a_dry_run_prints_the_unit_and_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mesh", 'st"u $dio%\\', "--data-dir", "my data"]
    assert main(["service", "install", "--system", "systemd", "--dry-run", "--", *words]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"# {home}/config/systemd/user/meshp2p.service\n[Unit]\n")
    found = unit(out)
    unescaped = found["ExecStart"].replace("$$", "$").replace("%%", "%")
    assert shlex.split(unescaped) == [sys.executable, "-P", "-m", "meshp2p", "up", *words]
    assert found["WorkingDirectory"] == str(home)
    assert out.count("\n$ systemctl --user ") == 3
    assert not list(home.iterdir())


def test_a_property_list_has_the_same_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "install", "--system", "launchd", "--dry-run", "--", "--mesh", "a & <b>"]) == 0
    path, *lines = capsys.readouterr().out.splitlines()
    content = plistlib.loads("\n".join(line for line in lines if not line.startswith("$ ")).encode())
    assert content["ProgramArguments"] == [sys.executable, "-P", "-m", "meshp2p", "up", "--mesh", "a & <b>"]
    assert (content["RunAtLoad"], content["WorkingDirectory"]) == (True, str(home))
    assert path == f"# {home}/Library/LaunchAgents/org.meshp2p.node.plist"


def test_a_service_is_installed_and_removed(home: Path, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "config" / "systemd" / "user" / "meshp2p.service"
    assert main(["service", "install", "--system", "systemd", "--", "--mesh", "studio"]) == 0
    assert "up --mesh studio" in file.read_text()
    assert ran.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable meshp2p.service",
        "--user restart meshp2p.service",
    ]
    assert "loginctl enable-linger" in capsys.readouterr().err
    assert main(["service", "uninstall", "--system", "systemd", "--dry-run"]) == 0
    assert file.exists()
    assert f"$ rm {file}" in capsys.readouterr().out
    assert main(["service", "uninstall", "--system", "systemd"]) == 0
    assert not file.exists()
    assert ran.read_text().splitlines()[3:] == ["--user disable --now meshp2p.service", "--user daemon-reload"]
    assert main(["service", "uninstall", "--system", "systemd"]) == 2
    assert "no service is installed" in capsys.readouterr().err


def test_a_command_that_fails_is_named_with_the_remedy(
    home: Path, ran: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "fails").touch()
    assert main(["service", "install", "--system", "systemd"]) == 2
    err = capsys.readouterr().err
    assert "`systemctl --user daemon-reload` failed: no bus" in err
    assert "--dry-run prints" in err
    file = home / "config" / "systemd" / "user" / "meshp2p.service"
    assert not file.exists()  # nothing was changed
    file.write_text("an older one")
    assert main(["service", "install", "--system", "systemd"]) == 2
    assert file.read_text() == "an older one"
    capsys.readouterr()
    assert main(["service", "uninstall", "--system", "systemd"]) == 1
    assert f"{file} is removed, but `systemctl --user disable --now meshp2p.service` failed" in capsys.readouterr().err
    assert not file.exists()


def test_systemd_knows_every_line_of_the_unit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (Debian: systemd)")
    words = ["--mesh", 'st"u $dio%\\', "--data-dir", "my data"]
    assert main(["service", "install", "--system", "systemd", "--dry-run", "--", *words]) == 0
    unit_file = home / "meshp2p.service"
    unit_file.write_text("".join(capsys.readouterr().out.partition("[Unit]")[1:]).partition("\n$ ")[0])
    home.chmod(0o700)
    process = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit_file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


async def test_the_command_of_the_unit_runs_a_node_in_a_clean_environment_again_after_a_kill(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is run as systemd runs it: with no variable but HOME, in the working directory, and again if it fails. A
    module in that directory does not shadow one of Python."""
    (home / "random.py").write_text("raise SystemExit('the wrong module')")
    words = ["--mesh", "service", "--id", "one", "--port", "0", "--no-mdns", "--data-dir", "my data"]
    assert main(["service", "install", "--system", "systemd", "--dry-run", "--", *words]) == 0
    found = unit(capsys.readouterr().out)
    command = shlex.split(found["ExecStart"])
    assert (found["Restart"], found["RestartPreventExitStatus"], found["RestartSec"]) == ("on-failure", "2", "2")
    printed = b""
    with trio.fail_after(60):
        for ending in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
            process = await trio.lowlevel.open_process(
                command, cwd=found["WorkingDirectory"], env={"HOME": str(home)}, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            printed = b""
            while b"leader is one" not in printed:
                printed += await process.stdout.receive_some() or pytest.fail(printed.decode())
            process.send_signal(ending)
            async for more in process.stdout:
                printed += more
            code = await process.wait()
            assert code == (0 if ending == signal.SIGTERM else -signal.SIGKILL)
    assert printed.endswith(b"left the mesh\n")


@pytest.mark.parametrize("name", ["a\nExecStartPre=x", "\udcff"])
def test_a_directory_that_no_unit_can_name_is_refused(
    name: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = home / name
    directory.mkdir()
    monkeypatch.chdir(directory)
    assert main(["service", "install", "--system", "systemd"]) == 2
    assert "expected no control character in the options and the directory" in capsys.readouterr().err
    assert list(home.iterdir()) == [directory]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "99999"], "port = 99999"),
        (["--capabilty", "x"], "there is no option --capabilty: did you mean --capability?"),
        (["--mesh", "a\nb"], "control character"),
        (["extra"], "unrecognized arguments: extra"),
    ],
)
def test_wrong_options_of_the_node_are_refused_before_anything_is_written(
    words: list[str], told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["service", "install", "--system", "systemd", "--", *words])
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    assert told in capsys.readouterr().err
    assert not list(home.iterdir())
