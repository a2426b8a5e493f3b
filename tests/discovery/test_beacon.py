"""The beacon: when it asks, who answers, and what it makes of strangers. The air is a fake one."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Sequence

import msgpack
import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.discovery import beacon
from meshp2p.discovery.beacon import BeaconSource, ask_once, callable_at
from meshp2p.discovery.beacon_sockets import Reply, Take
from meshp2p.discovery.endpoints import Endpoints, Link
from meshp2p.discovery.source import Sighting
from meshp2p.errors import Refusal
from meshp2p.wire.beacon import BeaconAnswer, BeaconQuestion
from meshp2p.wire.codec import Codec

CODEC = Codec("lab")
LINKS = (Link("eth0", "192.0.2.7", 2, "192.0.2.255"),)
PLACE = Endpoints((Address("192.0.2.7", 7700),), LINKS)
PEER = Address("192.0.2.9", 40_000)
AT_PEER = (Address("192.0.2.9", 7700),)


class World:
    """What one source is given, and what it does with it."""

    def __init__(self, *, company: int = 0, failures: Sequence[OSError | None] = ()) -> None:
        self.company = company
        self.failures = list(failures)
        self.shouts: list[tuple[float, BeaconQuestion]] = []
        self.links: list[tuple[Link, ...]] = []
        self.sightings: list[Sighting] = []
        self.answers: list[BeaconAnswer] = []
        self.take: Take | None = None
        self.broken = 0
        self.source = BeaconSource(
            "me", CODEC, PLACE, lambda: self.company, random.Random(1), open_air=lambda links: FakeAir(self, links)
        )

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.source.run, self.sightings.append)

    def hear(
        self, data: bytes | BeaconQuestion | BeaconAnswer, source: Address = PEER, *, reply: Reply | None = None
    ) -> None:
        assert self.take is not None
        packet = data if isinstance(data, bytes) else CODEC.encode(data)
        self.take(packet, source, reply or self.keep)

    def keep(self, data: bytes) -> None:
        message = CODEC.decode_beacon_untrusted(data)
        assert isinstance(message, BeaconAnswer)
        self.answers.append(message)

    @property
    def pauses(self) -> list[float]:
        times = [when for when, _ in self.shouts]
        return [after - before for before, after in itertools.pairwise(times)]


class FakeAir:
    def __init__(self, world: World, links: Sequence[Link]) -> None:
        self._world = world
        world.links.append(tuple(links))

    async def run(self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        world = self._world
        if world.broken:
            world.broken -= 1
            raise RuntimeError("the sockets broke")
        world.take = take
        task_status.started()
        await trio.sleep_forever()

    def shout(self, data: bytes) -> dict[str, OSError | None]:
        message = CODEC.decode_beacon_untrusted(data)
        assert isinstance(message, BeaconQuestion)
        self._world.shouts.append((trio.current_time(), message))
        return {"the link": self._world.failures.pop(0) if self._world.failures else None}


async def while_running(world: World, seconds: float, then: Callable[[], None] = lambda: None) -> None:
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        then()
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()


async def test_a_node_that_is_alone_asks_at_once_and_then_ever_more_rarely(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    await while_running(world, 100)
    for pause, expected in zip(world.pauses, [0.25, 0.5, 1, 2, 4, 5, 5, 5], strict=False):
        assert 0.7 * expected <= pause <= 1.3 * expected
    assert 15 <= len(world.shouts) <= 30
    first = world.shouts[0][1]
    assert (first.id, first.addresses) == ("me", PLACE.addresses)
    assert len({question.number for _, question in world.shouts}) == len(world.shouts)
    assert len({question.run for _, question in world.shouts}) == 1


@pytest.mark.parametrize("others", [1, 9])
async def test_a_node_in_company_asks_so_rarely_that_its_mesh_asks_once_a_minute(
    autojump_clock: trio.testing.MockClock, others: int
) -> None:
    world = World(company=others)
    await while_running(world, 60.0 * (others + 1) * 20)
    assert 15 <= len(world.shouts) <= 27  # 20 minutes' worth of its share, with a jitter of a quarter


async def test_a_node_that_lost_its_peers_asks_again_within_a_moment(autojump_clock: trio.testing.MockClock) -> None:
    world = World(company=3)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.sleep(30)
        asked = len(world.shouts)
        world.company = 0
        await trio.sleep(1.3)
        assert len(world.shouts) > asked
        nursery.cancel_scope.cancel()


async def test_an_answer_to_its_own_question_is_offered_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    world = World()

    def hear() -> None:
        number = world.shouts[0][1].number
        world.hear(BeaconAnswer(number, "peer", AT_PEER))
        world.hear(BeaconAnswer((number + 1) % 2**64, "forger", AT_PEER))

    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.sleep(0.1)
        hear()
        nursery.cancel_scope.cancel()
    assert world.sightings == [Sighting("beacon", AT_PEER, "peer")]
    assert world.source.stats.answers_heard == 1


async def test_a_question_is_answered_and_the_asker_offered_once_however_often_it_is_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()

    def hear() -> None:
        for _ in range(3):
            world.hear(BeaconQuestion(5, 6, "peer", AT_PEER))

    await while_running(world, 0.1, hear)
    assert world.sightings == [Sighting("beacon", AT_PEER, "peer")]
    assert world.answers == [BeaconAnswer(5, "me", PLACE.addresses)]


async def test_a_question_of_who_is_no_node_is_answered_and_nobody_offered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    await while_running(world, 0.1, lambda: world.hear(BeaconQuestion(5, 6)))
    assert world.sightings == []
    assert world.answers == [BeaconAnswer(5, "me", PLACE.addresses)]


async def test_its_own_question_is_no_question_but_that_of_another_with_its_id_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.sleep(0.1)
        world.hear(world.shouts[0][1])
        assert world.answers == []
        world.hear(BeaconQuestion(5, 6, "me", AT_PEER))
        nursery.cancel_scope.cancel()
    assert world.sightings == [Sighting("beacon", AT_PEER, "me")]


@pytest.mark.parametrize(("others", "expected"), [(0, 200), (2, 200), (39, 20)])
async def test_in_a_mesh_of_many_a_few_answer(
    autojump_clock: trio.testing.MockClock, others: int, expected: int
) -> None:
    world = World(company=others)

    def hear() -> None:
        for number in range(200):
            world.hear(BeaconQuestion(number, 6, f"peer-{number}", AT_PEER))

    await while_running(world, 0.1, hear)
    assert expected / 2 <= len(world.answers) == len(world.sightings) <= expected * 2


async def test_a_flood_costs_a_bounded_number_of_answers(autojump_clock: trio.testing.MockClock) -> None:
    world = World()

    def hear() -> None:
        for number in range(10_000):
            world.hear(BeaconQuestion(number, 6, f"peer-{number}", AT_PEER))

    await while_running(world, 0.1, hear)
    assert len(world.answers) == beacon.HEARD_BURST
    assert world.source.stats.limited == 10_000 - beacon.HEARD_BURST
    assert len(world.source._heard) <= beacon.NUMBERS_MAX


async def test_what_is_no_beacon_of_this_mesh_is_counted_and_nothing_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()

    def hear() -> None:
        world.hear(b"")
        world.hear(b"GET / HTTP/1.1\r\n")
        world.hear(Codec("other").encode(BeaconQuestion(1, 2)))
        world.hear(CODEC.encode(BeaconQuestion(1, 2))[:-1])
        world.hear(CODEC._header + msgpack.packb([33, 1, 2, "id", [["name.example", 1]]]))

    await while_running(world, 0.1, hear)
    assert (world.sightings, world.answers) == ([], [])
    assert world.source.stats.refused == {
        Refusal.TOO_SHORT: 1,
        Refusal.BAD_MAGIC: 1,
        Refusal.OTHER_MESH: 1,
        Refusal.BAD_ENCODING: 1,
        Refusal.BAD_VALUE: 1,
    }


async def test_an_answer_that_cannot_be_sent_is_no_failure(autojump_clock: trio.testing.MockClock) -> None:
    def refuse(_: bytes) -> None:
        raise OSError("not permitted")

    world = World()
    await while_running(world, 0.1, lambda: world.hear(BeaconQuestion(5, 6, "peer", AT_PEER), reply=refuse))
    assert len(world.sightings) == 1
    assert world.source.stats.answers_sent == 0


async def test_a_move_reopens_the_air_and_asks_at_once_from_the_new_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(company=5)
    there = Endpoints((Address("198.51.100.7", 7700),), (Link("wlan0", "198.51.100.7", 3, None),))
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.sleep(10)
        asked = len(world.shouts)
        world.source.move(PLACE)
        await trio.sleep(0.1)
        assert len(world.links) == 1
        world.source.move(there)
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert world.links == [LINKS, there.links]
    assert [question.addresses for _, question in world.shouts[asked:]] == [there.addresses]


async def test_refreshing_asks_at_once_and_not_twice_in_a_moment(autojump_clock: trio.testing.MockClock) -> None:
    world = World(company=5)
    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        await trio.sleep(10)
        asked = len(world.shouts)
        for _ in range(10):
            world.source.refresh()
            await trio.sleep(0.01)
        assert len(world.shouts) == asked + 1
        nursery.cancel_scope.cancel()


async def test_what_fails_is_said_once_and_tried_for_ever(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "meshp2p.discovery")
    world = World(failures=[OSError(101, "Network is unreachable")] * 5)
    await while_running(world, 60)
    assert [message.partition(" ")[0] for message in caplog.messages] == ["the", "the"]
    assert caplog.messages[0].endswith("Network is unreachable")
    assert caplog.messages[1] == "the link works again"
    assert len(world.shouts) > 10


async def test_sockets_that_break_do_not_end_it(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.broken = 3
    await while_running(world, 30)
    assert len(world.links) == 4
    assert world.shouts
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("source", "told", "expected"),
    [
        ("192.0.2.9", ("192.0.2.9",), ("192.0.2.9",)),
        ("192.0.2.9", ("198.51.100.9",), ("192.0.2.9", "198.51.100.9")),
        ("192.0.2.9", ("127.0.0.1",), ("192.0.2.9",)),
        ("127.0.0.1", ("127.0.0.1",), ("127.0.0.1",)),
        ("127.0.0.1", ("192.0.2.9",), ("192.0.2.9",)),
        ("::1", ("::1",), ("::1",)),
        ("fe80::1", ("2001:db8::9",), ("2001:db8::9",)),
        ("fe80::1", ("::1",), ()),
    ],
)
def test_a_stranger_is_called_where_it_came_from_and_not_on_this_machine(
    source: str, told: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    addresses = tuple(Address(host, 7700) for host in told)
    found = callable_at(BeaconQuestion(1, 2, "peer", addresses), Address(source, 40_000))
    assert found == tuple(Address(host, 7700) for host in expected)


async def test_who_only_looks_is_told_who_is_there(autojump_clock: trio.testing.MockClock) -> None:
    world = World()

    class Looker(FakeAir):
        """Its questions are heard by the node of ``world``, whose answers come back."""

        async def run(self, take: Take, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            self._back = take
            task_status.started()
            await trio.sleep_forever()

        def shout(self, data: bytes) -> dict[str, OSError | None]:
            reply: Reply = lambda answer: self._back(answer, AT_PEER[0], lambda _: None)  # noqa: E731
            world.hear(data, Address("192.0.2.8", 40_000), reply=reply)
            return {"the link": None}

    async with trio.open_nursery() as nursery:
        await world.start(nursery)
        found, outcome = await ask_once(CODEC, LINKS, 3.0, open_air=lambda links: Looker(world, links))
        one, _ = await ask_once(CODEC, LINKS, 3.0, enough=1, open_air=lambda links: Looker(world, links))
        nursery.cancel_scope.cancel()
    assert found == one == {"me": (AT_PEER[0], *PLACE.addresses)}
    assert outcome == {"the link": None}
    assert world.sightings == []
