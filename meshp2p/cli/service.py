"""``meshp2p service``: run a node whenever this user is there, by systemd or launchd."""

from __future__ import annotations

import argparse
import os
import plistlib
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from meshp2p.cli.configuration import configuration_of
from meshp2p.cli.output import warn, write_line
from meshp2p.cli.parser import parse
from meshp2p.errors import ConfigError, MeshError, StartError

__all__ = ["install", "uninstall"]

_COMMAND_SECONDS: Final = 60

_UNIT = """\
[Unit]
Description=meshp2p node

[Service]
ExecStart={command}
WorkingDirectory={directory}
Restart=on-failure
RestartPreventExitStatus=2
RestartSec=2

[Install]
WantedBy=default.target
"""


class _Service(NamedTuple):
    """What one system needs: a file, and the commands that start and end the node."""

    path: Path
    content: str
    start: Sequence[Sequence[str]]
    stop: Sequence[Sequence[str]]
    after_removal: Sequence[Sequence[str]] = ()
    hint: str = ""


def install(options: argparse.Namespace) -> int:
    words = ["up", *options.up]
    for word in (*words, str(Path.cwd())):
        if not word.isprintable():
            raise ConfigError(f"{word!a}: expected no control character in the options and the directory of a service")
    configuration_of(parse(words))
    # -P: a module in the working directory must not shadow one of Python
    service = _system(options)([sys.executable, "-P", "-m", "meshp2p", *words], Path.cwd())
    if options.dry_run:
        write_line(f"# {service.path}\n{service.content}")
        _print(service.start)
        return 0
    try:
        before = service.path.read_bytes() if service.path.exists() else None
        service.path.parent.mkdir(parents=True, exist_ok=True)
        service.path.write_text(service.content)
    except OSError as error:
        raise StartError(f"{str(service.path)!r} cannot be written: {error.strerror}") from error
    try:
        for command in service.start:
            _run(command)
    except StartError:
        if before is None:
            service.path.unlink(missing_ok=True)
        else:
            service.path.write_bytes(before)
        raise
    write_line(f"the node runs now, and at each login; `meshp2p service uninstall` ends that: {service.path}")
    if service.hint:
        warn(service.hint)
    return 0


def uninstall(options: argparse.Namespace) -> int:
    service = _system(options)([], Path.cwd())
    if options.dry_run:
        _print([*service.stop, ["rm", str(service.path)], *service.after_removal])
        return 0
    if not service.path.exists():
        raise ConfigError(f"no service is installed: {str(service.path)!r} does not exist")
    failure: StartError | None = None
    for command in service.stop:
        try:
            _run(command)
        except StartError as error:  # systemd or launchd does not run, so neither does the node
            failure = error
    service.path.unlink(missing_ok=True)
    if failure is not None:
        raise MeshError(f"{service.path} is removed, but {failure}")
    for command in service.after_removal:
        _run(command)
    write_line(f"the node is ended, and {service.path} is removed")
    return 0


def _print(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        write_line(f"$ {' '.join(command)}")


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
        failure = done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    if failure:
        raise StartError(
            f"`{' '.join(command)}` failed: {failure}; --dry-run prints the file and the commands, to use them by hand"
        )


def _systemd(command: Sequence[str], directory: Path) -> _Service:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    content = _UNIT.format(command=" ".join(map(_unit_word, command)), directory=_unit_path(directory))
    ctl = ("systemctl", "--user")
    return _Service(
        Path(base) / "systemd" / "user" / "meshp2p.service",
        content,
        start=[(*ctl, "daemon-reload"), (*ctl, "enable", "meshp2p.service"), (*ctl, "restart", "meshp2p.service")],
        stop=[(*ctl, "disable", "--now", "meshp2p.service")],
        after_removal=[(*ctl, "daemon-reload")],
        hint="it ends when you log out; `loginctl enable-linger` lets it run without a login, and from the start",
    )


def _unit_word(word: str) -> str:
    """A word of a command in a unit: quoted, and nothing in it is expanded."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.fullmatch(r"[\w@+=:,./-]+", word) is None else word


def _unit_path(path: Path) -> str:
    return str(path).replace("%", "%%")


def _launchd(command: Sequence[str], directory: Path) -> _Service:
    path = Path.home() / "Library" / "LaunchAgents" / "org.meshp2p.node.plist"
    content = {
        "Label": "org.meshp2p.node",
        "ProgramArguments": list(command),
        "WorkingDirectory": str(directory),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardErrorPath": str(Path.home() / "Library" / "Logs" / "meshp2p.log"),
    }
    domain = f"gui/{os.getuid()}"
    return _Service(
        path,
        plistlib.dumps(content).decode(),
        start=[("launchctl", "bootstrap", domain, str(path))],
        stop=[("launchctl", "bootout", f"{domain}/org.meshp2p.node")],
    )


def _system(options: argparse.Namespace) -> Callable[[Sequence[str], Path], _Service]:
    return _SYSTEMS[options.system or ("launchd" if sys.platform == "darwin" else "systemd")]


_SYSTEMS: Final[dict[str, Callable[[Sequence[str], Path], _Service]]] = {"systemd": _systemd, "launchd": _launchd}
