"""``python -m simulations.benchmarks``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from simulations.benchmarks import (
    blocked,
    calls,
    heartbeats,
    membership,
    messages,
    revocation,
    scale,
    sealing,
    simulator,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simulations.benchmarks",
        description="What meshp2p costs and how fast it is, beside other systems.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    blocked.add_command(commands)
    calls.add_command(commands)
    heartbeats.add_command(commands)
    membership.add_command(commands)
    messages.add_command(commands)
    revocation.add_command(commands)
    scale.add_command(commands)
    sealing.add_command(commands)
    simulator.add_command(commands)
    options = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled; a process need not do it again
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
