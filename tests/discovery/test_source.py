"""What all sources share."""

from __future__ import annotations

import itertools
import logging

import pytest

from meshp2p.discovery.source import FailureLog, delays


def test_delays_double_up_to_the_last_and_stay_there() -> None:
    assert list(itertools.islice(delays(5, 30), 5)) == [5, 10, 20, 30, 30]


def test_a_failure_is_told_once_until_it_changes_or_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "meshp2p.discovery")
    log = FailureLog("the thing")
    log.succeeded()
    log.failed(OSError("no route"))
    log.failed(OSError("no route"))
    log.failed(OSError("no cable"))
    log.succeeded()
    log.succeeded()
    log.failed(OSError("no cable"))
    assert caplog.messages == [
        "the thing failed and is tried again: OSError: no route",
        "the thing failed and is tried again: OSError: no cable",
        "the thing works again",
        "the thing failed and is tried again: OSError: no cable",
    ]
