"""A run that is guided by coverage: atheris draws bodies that reach new branches of the codecs and the machine.

    python -m simulations.fuzz.guided DIRECTORY [libFuzzer's options, as -max_total_time=60]

What it finds interesting goes into the directory, what breaks a law into a file ``crash-...`` here. The exit status is
libFuzzer's.
"""

from __future__ import annotations

import random
import sys
from typing import Final

import atheris

with atheris.instrument_imports(include=["meshp2p.core", "meshp2p.wire"]):
    from simulations.fuzz.mutation import Mutator
    from simulations.fuzz.target import Kind, Target, golden_bodies

LIFE_INPUTS: Final = 200
"""How many inputs one machine gets: an error may depend on earlier ones."""

_KINDS: Final = tuple(Kind)


class _Guided:
    def __init__(self) -> None:
        self._mutators = Mutator(random.Random(0))
        self._inputs = 0
        self._target = Target(random.Random(0))

    def run(self, data: bytes) -> None:
        """One input: a byte that says by which way, and the body."""
        if self._inputs % LIFE_INPUTS == 0:
            self._target = Target(random.Random(self._inputs))
        self._inputs += 1
        if data:
            self._target.feed(_KINDS[data[0] % len(_KINDS)], data[1:])
            self._target.happen()
            self._target.check()

    def mutate(self, data: bytes, size_max: int, seed: int) -> bytes:
        """Change the structure of a body, or let libFuzzer change its bytes."""
        draw = random.Random(seed)
        if not data or draw.random() < 0.2:
            kind = draw.randrange(len(_KINDS))
            return bytes([kind]) + draw.choice(golden_bodies()[_KINDS[kind]])
        try:
            changed = data[:1] + self._mutators.mutate(data[1:])
        except Exception:  # noqa: BLE001  # it is no MessagePack
            return bytes(atheris.Mutate(data, size_max))
        return changed if len(changed) <= size_max else data


def main() -> None:
    guided = _Guided()
    atheris.Setup(sys.argv, guided.run, custom_mutator=guided.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
