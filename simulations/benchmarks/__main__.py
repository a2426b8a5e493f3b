"""``python -m simulations.benchmarks``."""

from __future__ import annotations

import argparse
import sys

from simulations.benchmarks import membership


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m simulations.benchmarks",
        description="Real meshes, measured beside other systems.",
        allow_abbrev=False,
    )
    membership.add_command(parser.add_subparsers(required=True, metavar="BENCHMARK"))
    options = parser.parse_args()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
