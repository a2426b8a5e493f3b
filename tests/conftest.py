"""Rules for all tests: in CI a skipped test is a failed one, and Hypothesis looks harder there. Long tests get half an
hour. Child processes obey signals and find the system's tools. The meshes that the user joined are not seen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"

# A user's PATH need not have the system's tools (ip, tc, avahi-daemon), though they are installed.
os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

# Tests start hundreds of processes, and each would compile the whole package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A node that names no mesh is in the one that its user joined.
os.environ["XDG_DATA_HOME"] = "/nonexistent"

# No deadline and no `too_slow`: both measure the wall clock. The counts of examples are chosen, not measured.
settings.register_profile("dev", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, max_examples=500, print_blob=True)
settings.load_profile("ci" if IN_CI else "dev")


def obey_signals() -> None:
    """Ignore no signal that tests send to processes of theirs.

    A shell ignores SIGINT in what it runs in the background, and ``nohup`` ignores SIGHUP. An ignored signal is
    inherited through ``exec``, and Python then installs no handler of its own; a signal with a handler is reset.
    """
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # still ignored here
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


obey_signals()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each long test half an hour before it counts as hanging."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself (and is not an expected failure) fails in CI, with its reason."""
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """So does a file that skips itself whole."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI no test is: {reason}"
