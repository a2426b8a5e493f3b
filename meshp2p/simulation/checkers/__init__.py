"""The laws of the protocol. Each is watched by one checker, which stands outside the code under test.

Every class of this package that derives from :class:`~meshp2p.simulation.checkers.base.Checker` is a checker.
"""

from __future__ import annotations

import importlib
import pkgutil

from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.checkers.convergence import Convergence

__all__ = ["CHECKERS", "Checker", "Convergence", "Violation"]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

CHECKERS: dict[str, type[Checker]] = {
    checker.name: checker for checker in sorted(Checker.__subclasses__(), key=lambda checker: checker.name)
}
"""All checkers by name."""
