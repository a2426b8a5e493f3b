"""Nodes of a secured mesh whose clock is wrong, or was: with real sockets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
import trio

import meshp2p
from meshp2p import IdConflict, MeshNode
from meshp2p.errors import HandlerConflict, Refusal
from meshp2p.node.platform import SystemPlatform
from tests.node.test_sealed_datagrams import refused
from tests.node.test_secured import OPTIONS, seed
from tests.node.users import Users

YEARS_MS = 20 * 365 * 86_400_000


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock of the nodes that are opened from now on: so many milliseconds fast."""
    fast_ms = 0

    def wall_ms(self: SystemPlatform) -> int:
        shift: int = self.__dict__.setdefault("fast_ms", fast_ms)
        return time.time_ns() // 1_000_000 + shift

    def set_to(milliseconds: int) -> None:
        nonlocal fast_ms
        fast_ms = milliseconds

    monkeypatch.setattr(SystemPlatform, "wall_ms", wall_ms)
    return set_to


async def echo(message: meshp2p.ReceivedMessage) -> object:
    return message.payload


async def meet(one: MeshNode, two: MeshNode) -> None:
    """Wait until both list each other, and let each call the other."""
    for node in (one, two):
        await node.wait_for_members(2, timeout=60)
        with contextlib.suppress(HandlerConflict):  # it has met others
            node.handler("Query")(echo)
    assert await one.query(two.id, "hello", timeout=60) == "hello"
    assert await two.query(one.id, "hello", timeout=60) == "hello"


@pytest.mark.parametrize("fast_ms", [YEARS_MS, -YEARS_MS])
async def test_a_node_whose_clock_was_wrong_is_taken_once_it_is_corrected(
    users: Users, set_clock: Callable[[int], None], fast_ms: int
) -> None:
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    boots: list[int] = []
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        for shift in (0, fast_ms, 0):
            set_clock(shift)
            async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
                await meet(one, two)
                boots.append(two._node._driver.machine.own.boot)
        assert refused(one).get(Refusal.UNTRUSTED, 0) == 0
    assert boots == sorted(boots)


async def test_the_process_that_has_an_id_keeps_it_although_the_clock_was_set_back(
    users: Users, set_clock: Callable[[int], None]
) -> None:
    """The boots were the time, so the later process was taken for the earlier one."""
    _, anna = users.found("anna")
    users.invite(anna, "bert")
    users.act("anna")
    async with meshp2p.open_node(id="one", **OPTIONS) as one:
        users.act("bert")
        async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS) as two:
            await meet(one, two)
            set_clock(-YEARS_MS)
            with pytest.raises(IdConflict, match="belongs to another live node"):
                async with meshp2p.open_node(id="two", join=seed(one), **OPTIONS):
                    await trio.sleep_forever()
            await meet(one, two)
