"""Interpreters of the supported Pythons, with what meshp2p needs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["OTHERS", "ROOT", "NoInterpreter", "prepare"]

ROOT: Final = Path(__file__).parents[2]
SUPPORTED: Final = ("3.11", "3.12", "3.13")
OTHERS: Final = tuple(version for version in SUPPORTED if version != f"3.{sys.version_info.minor}")
"""The supported Pythons but the one that runs the tests."""

NEEDED: Final = "import meshp2p.simulation.simulation"


class NoInterpreter(Exception):
    """There is none of this version, or meshp2p cannot be installed for it. The message says what is needed."""


def prepare(version: str) -> str:
    """The path of an interpreter of this version with what meshp2p needs: one that has it, or else one with a virtual
    environment of its own in ``build/``, made once for each ``constraints.txt``.

    Raises :class:`NoInterpreter`.
    """
    found = [python for python in _find(version) if _run(python, f"import sys; assert sys.version[:4] == '{version}'")]
    if not found:
        raise NoInterpreter(f"needs Python {version}: on PATH, of pyenv, or in MESHP2P_PYTHONS (paths, colons between)")
    for python in found:
        if _run(python, NEEDED):
            return python
    return _install(version, found[0])


def _find(version: str) -> Iterator[str]:
    yield from (path for path in os.environ.get("MESHP2P_PYTHONS", "").split(":") if path)
    if (path := shutil.which(f"python{version}")) is not None:
        yield path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def _run(python: str, program: str) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([python, "-c", program], capture_output=True, env=environment, check=False).returncode == 0


def _install(version: str, python: str) -> str:
    constraints = ROOT / "constraints.txt"
    stamp = hashlib.sha256(constraints.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()[:12]
    place = ROOT / "build" / "pythons" / f"{version}-{stamp}"
    if not (place / "bin" / "python").exists() or not _run(str(place / "bin" / "python"), NEEDED):
        shutil.rmtree(place, ignore_errors=True)
        for command in (
            [python, "-m", "venv", str(place)],
            [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(constraints), str(ROOT)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(place, ignore_errors=True)
                raise NoInterpreter(f"needs what meshp2p needs for {python}: {done.stderr[-500:]}")
    return str(place / "bin" / "python")
