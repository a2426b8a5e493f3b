"""``python -m meshp2p``."""

from __future__ import annotations

import sys

from meshp2p.cli import main

if __name__ == "__main__":
    sys.exit(main())
