"""The list of planted faults, and how one of them is planted in a copy of the sources."""

from __future__ import annotations

import ast
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["LIST", "ROOT", "Mutant", "copied", "read_mutants"]

ROOT = Path(__file__).parents[2]
"""The checkout that this module is part of."""

LIST = Path(__file__).with_name("list")


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault: in ``module`` of a ``package`` of meshp2p the text ``old``, which stands there exactly once, becomes
    ``new``.

    ``story`` is one sentence on the fault that it stands for. ``no_test`` and ``no_run`` say why no unit test and no
    run of the simulator can be expected to catch it; empty where one is.
    """

    name: str
    module: str
    story: str
    old: str
    new: str
    no_test: str = ""
    no_run: str = ""
    package: str = "core"

    def path(self, root: Path = ROOT) -> Path:
        """The file that it changes."""
        return root.joinpath("meshp2p", self.package, *self.module.split(".")).with_suffix(".py")

    def plant(self, source: str) -> str:
        """The source with the fault. Raises :class:`ConfigError` where ``old`` is not in it exactly once, and where
        what comes out is no Python."""
        found = source.count(self.old)
        if found != 1:
            raise ConfigError(
                f"mutant {self.name!r}: its old text stands {found} times in {self.package}/{self.module}, expected"
                f" once: adapt it in simulations/mutants/list to the changed source"
            )
        planted = source.replace(self.old, self.new)
        try:
            ast.parse(planted)
        except SyntaxError as error:
            raise ConfigError(f"mutant {self.name!r}: its new text makes no Python: {error}") from None
        return planted

    def lines(self, source: str) -> frozenset[int]:
        """The lines of the statements that it touches: where a run executes none of them, the fault changes nothing of
        that run. Empty where it touches what is executed at import."""
        begin = source.count("\n", 0, source.index(self.old)) + 1
        touched = set(range(begin, begin + self.old.count("\n") + 1))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        outer = [node for node in ast.walk(ast.parse(source)) if isinstance(node, functions)]
        inside = [one for one in outer if one.body[0].lineno <= begin and max(touched) <= (one.end_lineno or 0)]
        if not inside:
            return frozenset()
        innermost = max(inside, key=lambda one: one.lineno)
        for statement in ast.walk(innermost):
            if isinstance(statement, ast.stmt) and statement is not innermost:
                span = set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
                is_simple = not hasattr(statement, "body") and not hasattr(statement, "cases")
                if touched & span and (is_simple or statement.lineno in touched):
                    touched |= span
        return frozenset(touched)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mutant: tuple[Mutant, ...] = ()


def read_mutants(directory: Path = LIST) -> tuple[Mutant, ...]:
    """Return all listed faults. Raises :class:`ConfigError` for a duplicate name, and for an invalid file."""
    mutants: list[Mutant] = []
    for path in sorted(directory.glob("*.toml")):
        try:
            mutants += msgspec.toml.decode(path.read_bytes(), type=_File).mutant
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path.name}: {error}") from None
    names = [mutant.name for mutant in mutants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"listed twice: {', '.join(twice)}")
    return tuple(mutants)


@contextlib.contextmanager
def copied(mutant: Mutant | None = None, root: Path = ROOT) -> Iterator[Path]:
    """A temporary directory with what the package, its unit tests and the simulator need, copied from ``root``, with
    one fault or none. A Python that is started in it imports from it, and nothing of the checkout changes.

    Raises :class:`ConfigError` as :meth:`Mutant.plant` does.
    """
    with tempfile.TemporaryDirectory(prefix="meshp2p-mutant-") as name:
        copy = Path(name)
        for part in ("meshp2p", "simulations", "tests/core", "tests/net", "tests/trust"):
            shutil.copytree(root / part, copy / part)
        for part in ("tests/conftest.py", "pyproject.toml"):
            shutil.copy2(root / part, copy / part)
        if root != ROOT:
            shutil.copytree(Path(__file__).parent, copy / "simulations" / "mutants", dirs_exist_ok=True)
        if mutant is not None:
            path = mutant.path(copy)
            if not path.exists():
                raise ConfigError(f"mutant {mutant.name!r}: there is no {mutant.package}/{mutant.module}")
            path.write_text(mutant.plant(path.read_text()))
        yield copy
