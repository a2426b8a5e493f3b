"""A client that means well beside floods of a real node. All of them: ``python -m simulations floods``."""

from __future__ import annotations

import pytest

from simulations.floods.command import table_lines
from simulations.floods.shapes import SHAPES
from simulations.floods.trial import measure


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    ["silent connections", "nested JSON as a payload", "a large mailbox, unread"],
)
async def test_a_client_that_means_well_is_answered_and_the_node_ends_by_itself(shape: str) -> None:
    assert shape in SHAPES
    outcome = await measure(shape, 1.0)
    assert outcome.requests > 0
    assert outcome.unanswered == 0
    assert outcome.exit_status == 0
    assert shape in "\n".join(table_lines([outcome]))
