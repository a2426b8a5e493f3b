"""What tests with real processes and network namespaces need of the environment."""

from __future__ import annotations

import os

# A user's PATH need not have the system's tools (tc, avahi-daemon), though they are installed.
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
