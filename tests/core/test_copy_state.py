"""The life of one copy of a message follows its table of transitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.mail.copy_state import TRANSITIONS, Copy, CopyEvent
from meshp2p.core.message import CopyStatus
from meshp2p.errors import InternalError

EVENTS = st.sampled_from(list(CopyEvent))


@given(st.sampled_from(list(CopyStatus)), EVENTS)
def test_an_illegal_event_raises_and_changes_nothing(status: CopyStatus, event: CopyEvent) -> None:
    copy = Copy(1, status, "why")
    if event in TRANSITIONS[status]:
        copy.advance(event, 2, "other")
        assert (copy.status, copy.changed_at, copy.reason) == (TRANSITIONS[status][event], 2, "other")
    else:
        with pytest.raises(InternalError, match=f"a copy that is {status} cannot be {event}"):
            copy.advance(event, 2, "other")
        assert (copy.status, copy.changed_at, copy.reason) == (status, 1, "why")


@given(st.lists(EVENTS, max_size=30))
def test_a_final_copy_stays_final_unless_its_acknowledgement_was_not_kept(events: list[CopyEvent]) -> None:
    copy = Copy(0)
    for event in events:
        before = copy.status
        if event in TRANSITIONS[before]:
            copy.advance(event, 1)
            assert not before.is_final or (before, event) == (CopyStatus.ACKNOWLEDGED, CopyEvent.REOPENED)
            assert copy.status is not CopyStatus.QUEUED, "what left the queue never counts as not delivered again"
        finals = (CopyStatus.ACKNOWLEDGED, CopyStatus.EXPIRED, CopyStatus.UNDELIVERABLE)
        assert copy.status.is_final == (copy.status in finals)


def test_every_open_copy_can_end_in_each_way() -> None:
    for status in (CopyStatus.QUEUED, CopyStatus.DELIVERED):
        reached = set(TRANSITIONS[status].values())
        assert {CopyStatus.ACKNOWLEDGED, CopyStatus.EXPIRED, CopyStatus.UNDELIVERABLE} <= reached
