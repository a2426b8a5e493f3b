"""The multicast DNS source, with a responder that touches no network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.discovery import responder
from meshp2p.discovery.advertisement import Advertisement
from meshp2p.discovery.endpoints import Endpoints, Link
from meshp2p.discovery.mdns import MdnsSource, browse_once, multicast_interfaces
from meshp2p.discovery.responder import Responder
from meshp2p.discovery.source import Sighting
from meshp2p.errors import ConfigError, StartError

ELSEWHERE = "198.51.100.77"  # reserved for documentation: no machine's own address
PEER = Advertisement("lab", "peer", 1, (Address("192.0.2.9", 7700),))


class Script:
    """What the responders of one source do, one after another, and what became of them."""

    def __init__(self, *, failures: Sequence[Exception] = (), seen: Sequence[Advertisement] = ()) -> None:
        self.failures = list(failures)
        self.seen = seen
        self.made: list[tuple[float, tuple[str, ...], Advertisement | None]] = []
        self.stops = 0
        self.goodbye = threading.Event()  # a responder that was stopped ends when this is set
        self.goodbye.set()

    def source(self, instance_id: str = "me", mesh: str = "lab") -> MdnsSource:
        script = self

        class Fake(Responder):
            def __init__(self, interfaces: Sequence[str], own: Advertisement | None, **callbacks: Any) -> None:
                script.made.append((trio.current_time(), tuple(interfaces), own))
                self.see, self.come_up = callbacks["on_seen"], callbacks["on_up"]
                self.stopped = threading.Event()

            def run(self) -> None:
                if script.failures:
                    raise script.failures.pop(0)
                self.come_up()
                for seen in script.seen:
                    self.see(seen)
                self.stopped.wait()
                script.goodbye.wait()

            def stop(self) -> None:
                script.stops += 1
                self.stopped.set()

        return MdnsSource(instance_id, mesh, 7700, ["192.0.2.7"], ["192.0.2.7"], responder=Fake)


def ignore(sighting: Sighting) -> None:
    """An offer that nobody takes."""


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_it_offers_whom_it_sees_in_its_mesh_and_nobody_else() -> None:
    other = Advertisement("other", "stranger", 1, PEER.addresses)
    twin = Advertisement("lab", "me", 1, PEER.addresses)
    send, receive = trio.open_memory_channel[Sighting](10)
    async with trio.open_nursery() as nursery:
        await nursery.start(Script(seen=[other, PEER, twin]).source().run, send.send_nowait)
        assert await receive.receive() == Sighting("mdns", PEER.addresses, "peer")
        assert await receive.receive() == Sighting("mdns", PEER.addresses, "me")
        nursery.cancel_scope.cancel()


async def test_it_tries_for_ever_and_says_once_why(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[Exception] = [OSError("multicast is refused")] * 9
    script = Script(failures=[*refused, RuntimeError("No adapter found")], seen=[PEER])
    send, receive = trio.open_memory_channel[Sighting](10)
    async with trio.open_nursery() as nursery:
        await nursery.start(script.source().run, send.send_nowait)
        assert len(script.made) == 1, "a node that cannot multicast starts all the same"
        await receive.receive()
        nursery.cancel_scope.cancel()
    start = script.made[0][0]
    assert [when - start for when, *_ in script.made] == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]
    assert [message.rpartition(": ")[2] for message in warnings(caplog)] == ["multicast is refused", "No adapter found"]


async def test_new_addresses_are_announced_at_once_and_the_same_ones_not_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script(failures=[OSError("no interface")])
    source = script.source()
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run, ignore)
        for hosts in (("192.0.2.8",), ("192.0.2.8",), ("192.0.2.8", "192.0.2.9")):
            source.move(Endpoints(tuple(Address(host, 7700) for host in hosts), ()))
            await trio.testing.wait_all_tasks_blocked()
        while len(script.made) < 3:
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    own = [made[2] for made in script.made]
    assert [[str(address) for address in each.addresses] for each in own if each is not None] == [
        ["192.0.2.7:7700"],
        ["192.0.2.8:7700"],
        ["192.0.2.8:7700", "192.0.2.9:7700"],
    ]
    assert [interfaces for _, interfaces, _ in script.made] == [
        ("192.0.2.7",),
        ("192.0.2.8", "127.0.0.1"),
        ("192.0.2.8", "192.0.2.9", "127.0.0.1"),
    ]
    assert len({when for when, *_ in script.made}) == 1, "none of them waited for the back-off"


async def test_a_cancelled_source_waits_for_its_goodbye() -> None:
    script = Script()
    script.goodbye.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(script.source().run, ignore)
        nursery.cancel_scope.cancel()
        trio.lowlevel.current_trio_token().run_sync_soon(script.goodbye.set)
    assert script.stops == 1


async def test_a_goodbye_that_hangs_does_not_keep_a_node_from_ending(autojump_clock: trio.testing.MockClock) -> None:
    script = Script()
    script.goodbye.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(script.source().run, ignore)
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == responder.GOODBYE_TIMEOUT
    script.goodbye.set()


async def test_it_can_be_cancelled_before_it_began() -> None:
    script = Script()
    with trio.CancelScope() as scope:
        scope.cancel()
        await script.source().run(ignore)


async def test_refreshing_a_source_that_does_not_run_does_nothing() -> None:
    Script().source().refresh()


def test_a_responder_that_was_stopped_before_it_began_ends_at_once() -> None:
    responder = Responder(["127.0.0.1"], None, on_seen=lambda seen: None)
    responder.stop()
    responder.run()
    responder.refresh()
    responder.stop()


def test_a_responder_without_any_of_its_interfaces_says_so() -> None:
    with pytest.raises(OSError, match=f"no interface has any of the addresses {ELSEWHERE}"):
        Responder([ELSEWHERE], None, on_seen=lambda seen: None).run()


async def test_a_look_around_that_cannot_multicast_says_why() -> None:
    with pytest.raises(StartError, match=ELSEWHERE):
        await browse_once(None, 5, [ELSEWHERE])


@pytest.mark.parametrize(("instance_id", "mesh"), [("", "lab"), ("x" * 129, "lab"), ("me", ""), ("me", "é" * 65)])
def test_names_that_cannot_be_announced_are_refused(instance_id: str, mesh: str) -> None:
    with pytest.raises(ConfigError):
        Script().source(instance_id, mesh)


def test_a_node_without_addresses_is_refused() -> None:
    with pytest.raises(ConfigError):
        MdnsSource("me", "lab", 7700, [], ["127.0.0.1"])


def test_multicast_goes_through_every_advertised_interface_and_loopback() -> None:
    assert multicast_interfaces(["192.0.2.7", "fd00::7"]) == ("192.0.2.7", "fd00::7", "127.0.0.1")
    assert multicast_interfaces(["127.0.0.1"]) == ("127.0.0.1",)
    assert multicast_interfaces(["::1"]) == ("127.0.0.1",)


def test_what_is_remembered_of_a_lan_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "SERVICES_MAX", 3)
    here = Responder(["127.0.0.1"], None, on_seen=lambda seen: None)
    for number in range(10):
        here._remember(f"service-{number}", PEER)
    assert list(here._services) == ["service-7", "service-8", "service-9"]


async def test_a_move_opens_it_anew_though_the_addresses_are_the_same(autojump_clock: trio.testing.MockClock) -> None:
    """An interface that was removed and put back has another number, and no group is joined on it."""
    script = Script()
    source = script.source()
    here = Address("192.0.2.7", 7700)
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run, ignore)
        for index, expected in ((2, 2), (3, 3), (3, 3)):
            source.move(Endpoints((here,), (Link("eth0", here.host, index, None),)))
            while len(script.made) < expected:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(script.made) == 3
    assert {interfaces for _, interfaces, _ in script.made[1:]} == {("192.0.2.7", "127.0.0.1")}
