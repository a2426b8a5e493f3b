"""The unit tests of the core and of what guards it, first those that are likely to notice a fault of a module."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["failing_test"]

SECONDS_MAX = 900
"""Wall-clock seconds after which the tests are ended, because the fault made one hang. Chosen, not measured."""

_FIRST: dict[str, str] = {
    "accepting": "message_order message_restarts message_faults messages homes",
    "ack_notifier": "message_order message_restarts message_faults homes messages",
    "acknowledging": "message_faults acknowledgements message_order messages homes",
    "candidates": "candidates joining failure_detection readdressing",
    "relay_selector": "relay_selector message_order message_faults messages homes hosting",
    "confirmer": "crash_evidence failure_detection last_word",
    "convergence_check": "looking",
    "copy_state": "copy_state message_faults",
    "dial_backs": "relay_selector",
    "delivery": "message_order message_restarts message_faults messages homes",
    "departures": "leaving failure_detection",
    "dissemination": "leaving gossip",
    "election": "leader pausing joining hosting",
    "gossip": "gossip syncing",
    "handover": "message_order message_restarts message_faults messages homes",
    "hosting": "hosting homes leader",
    "hybrid_clock": "replicated_map maps",
    "intake": "message_order message_restarts message_faults messages homes",
    "keeping": "keeping joining leader",
    "lease": "lease leader",
    "ledger": "message_order message_restarts message_faults messages homes",
    "life_signs": "life_signs",
    "line": "message_order message_restarts message_faults messages homes",
    "local_health": "small_parts failure_detection pausing",
    "machine": "readdressing failure_detection",
    "mailbox": "message_order message_restarts message_faults messages homes",
    "mailboxes": "message_order message_restarts message_faults messages homes",
    "members": "members membership_laws leader leaving",
    "membership": "failure_detection crash_evidence syncing patience membership_laws leader small_parts",
    "mesh_clock": "maps small_parts replicated_map",
    "nodes": "nodes prober",
    "open_map": "maps",
    "outbox": "message_restarts message_order message_faults messages homes",
    "ownership": "identity failure_detection hosting homes leader",
    "patience": "patience",
    "pause_guard": "pausing hosting patience",
    "peer_queue": "message_order message_restarts message_faults messages homes",
    "prober": "indirect_probes prober failure_detection crash_evidence",
    "record": "record membership_laws",
    "replicated_map": "replicated_map maps",
    "settling": "message_order message_restarts message_faults messages homes",
    "shared_maps": "maps",
    "state": "failure_detection gossip crash_evidence identity",
    "suspicion": "suspicion failure_detection crash_evidence",
    "suspicion_table": "failure_detection suspicion patience crash_evidence",
    "syncer": "syncing joining leader identity",
    "uuid7": "message_ids",
    "view_digest": "digest syncing",
    "watches": "crash_evidence",
}
"""By module, the tests that run first: names of files without ``test_`` and ``.py``."""


_GUARD_TESTS = ("tests/net/test_guard.py", "tests/net/test_mesh_trust.py", "tests/net/test_tls.py")


def _tests_of(copy: Path, package: str, module: str) -> list[str]:
    """The files with the unit tests of a package, the most promising ones first."""
    folder = "core" if package == "core" else "trust"
    tests = sorted(str(path.relative_to(copy)) for path in (copy / "tests" / folder).glob("test_*.py"))
    if package != "core":
        return [*_GUARD_TESTS, *tests]
    first = [f"tests/core/test_{name}.py" for name in _FIRST.get(module.rpartition(".")[2], module).split()]
    return [*(path for path in first if path in tests), *(path for path in tests if path not in first)]


def failing_test(copy: Path, module: str, package: str = "core") -> str:
    """Run the unit tests in this copy of the sources until one fails. Return it, or an empty string."""
    options = ["-q", "-x", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", "timeout=60"]
    command = [sys.executable, "-m", "pytest", *options, *_tests_of(copy, package, module)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    try:
        ended = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return "a test hangs"
    if ended.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) tests/\w+/test_(.+?)(?: - .*)?$", ended.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(
            f"pytest ended with status {ended.returncode}:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        )
    return found[1]
