"""Seeds: names are resolved again, failures are survived, and one does not hold up another."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.seeds import SeedSource, resolve
from meshp2p.discovery.source import Sighting

SEED = Address("seed.example", 7700)


class NameServer:
    """Gives the answers it was told, in turn, and the last one for ever. An exception is an answer too."""

    def __init__(self, *answers: Sequence[Address] | Exception) -> None:
        self._answers = list(answers)

    async def resolve(self, seed: Address) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def run_for(source: SeedSource, seconds: float) -> list[tuple[float, Sighting]]:
    """Run it that long in virtual time and return what it offered, and when."""
    offered: list[tuple[float, Sighting]] = []
    start = trio.current_time()
    with trio.move_on_after(seconds):
        await source.run(lambda sighting: offered.append((trio.current_time() - start, sighting)))
    return offered


async def test_a_seed_is_offered_at_once_and_ever_more_rarely_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    address = Address("192.0.2.1", 7700)
    offered = await run_for(SeedSource([SEED], resolve=NameServer([address]).resolve), 100)
    assert offered == [(when, Sighting("seed", (address,), None)) for when in (0, 5, 15, 35, 65, 95)]


async def test_a_seed_is_offered_every_five_seconds_while_nobody_else_is_listed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    address = Address("192.0.2.1", 7700)
    began = trio.current_time()
    source = SeedSource(
        [SEED],
        resolve=NameServer(*[OSError("no such name")] * 20, [address]).resolve,
        company=lambda: int(trio.current_time() - began > 112),
    )
    offered = await run_for(source, 200)
    assert [when for when, _ in offered] == [100, 105, 110, 115, 125, 145, 175]


async def test_a_name_is_resolved_again_each_time(autojump_clock: trio.testing.MockClock) -> None:
    old, new = Address("192.0.2.1", 7700), Address("192.0.2.2", 7700)
    offered = await run_for(SeedSource([SEED], resolve=NameServer([old], [new]).resolve), 6)
    assert [sighting.addresses for _, sighting in offered] == [(old,), (new,)]


@pytest.mark.parametrize("failure", [OSError("no name server"), UnicodeError("label too long"), ()])
async def test_a_name_that_cannot_be_resolved_is_told_once_and_tried_for_ever(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, failure: Exception | tuple[Address, ...]
) -> None:
    address = Address("192.0.2.1", 7700)
    source = SeedSource([SEED], resolve=NameServer(failure, failure, failure, [address]).resolve)
    offered = await run_for(source, 40)
    assert [when for when, _ in offered] == [35]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "seed.example:7700" in warnings[0].getMessage()


async def test_a_name_server_that_does_not_answer_holds_up_no_other_seed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def resolve(seed: Address) -> Sequence[Address]:
        if seed == SEED:
            await trio.sleep_forever()
        return [seed]

    other = Address("192.0.2.1", 7700)
    offered = await run_for(SeedSource([SEED, other], resolve=resolve), 1)
    assert [sighting.addresses for _, sighting in offered] == [(other,)]


async def test_a_source_with_no_seeds_starts_and_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(SeedSource([]).run, lambda sighting: None)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["192.0.2.1", "fd00::1", "fe80::1%lo"])
async def test_the_system_resolves_a_literal_address_to_itself(host: str) -> None:
    (address,) = await resolve(Address(host, 7700))
    assert address.host.partition("%")[0] == host.partition("%")[0]
    assert ("%" in address.host) == ("%" in host)
    assert address.port == 7700


async def test_the_system_resolves_localhost_to_loopback() -> None:
    assert {address.host for address in await resolve(Address("localhost", 7700))} <= {"127.0.0.1", "::1"}


async def test_a_host_that_is_no_name_is_a_failure_like_any_other() -> None:
    with pytest.raises((OSError, ValueError)):
        await resolve(Address("x" * 64 + ".example", 7700))


async def test_a_seed_is_looked_up_at_once_where_the_machine_moved_or_slept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    address = Address("192.0.2.1", 7700)
    source = SeedSource([SEED], resolve=NameServer([address]).resolve)
    offered: list[float] = []
    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        await nursery.start(source.run, lambda _: offered.append(trio.current_time() - start))
        await trio.sleep(40)
        source.move(Endpoints((address,), ()))
        await trio.sleep(7)
        source.refresh()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert offered == [0, 5, 15, 35, 40, 45, 47]
