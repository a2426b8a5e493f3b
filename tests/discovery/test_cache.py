"""The cache of peers: what is saved is loaded, and what is not ours costs one warning."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.address import Address
from meshp2p.discovery import cache as cache_module
from meshp2p.discovery.cache import PEERS_MAX, CacheSource, KnownPeer, PeerCache
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.source import Sighting


def make_peer(number: int) -> KnownPeer:
    return KnownPeer(f"agent-{number}", (Address("192.0.2.1", 7000 + number), Address("fd00::1", 7000 + number)))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    peers = (make_peer(2), make_peer(1))
    assert await PeerCache(tmp_path / "peers.json").save(peers)
    assert await PeerCache(tmp_path / "peers.json").load() == peers
    (path,) = await trio.Path(tmp_path).iterdir()
    assert path.name == "peers.json"
    assert (await path.stat()).st_mode & 0o077 == 0


async def test_no_file_holds_no_peers_and_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await PeerCache(tmp_path / "peers.json").load() == ()
    assert warnings(caplog) == []


async def test_only_the_most_recently_met_are_kept(tmp_path: Path) -> None:
    cache = PeerCache(tmp_path / "peers.json")
    peers = tuple(make_peer(number) for number in range(PEERS_MAX + 50))
    await cache.save(peers)
    assert await cache.load() == peers[:PEERS_MAX]


def as_file(**change: object) -> bytes:
    peer = {"instance_id": "agent-1", "addresses": [["192.0.2.1", 7700]]} | change
    return json.dumps({"format": 1, "peers": [peer]}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\x00",
        b"[]",
        b"[" * 100_000,
        b" " * (cache_module.FILE_BYTES_MAX + 1),
        b'{"format": 2, "peers": []}',
        as_file(instance_id=""),
        as_file(instance_id="x" * 129),
        as_file(addresses=[]),
        as_file(addresses=[["192.0.2.1", 7700]] * 17),
        as_file(addresses=[["seed.example", 7700]]),
        as_file(addresses=[["192.0.2.1", 0]]),
        as_file(addresses=[["192.0.2.1", 65536]]),
    ],
    ids=range(14),
)
async def test_a_file_that_is_not_ours_costs_one_warning_and_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(data)
    cache = PeerCache(path)
    assert await cache.load() == ()
    assert len(warnings(caplog)) == 1
    assert str(path) in warnings(caplog)[0]
    assert await cache.save([make_peer(1)])
    assert await cache.load() == (make_peer(1),)


@given(st.binary(max_size=400) | st.sampled_from([as_file()]).flatmap(lambda good: st.integers(0, len(good)).map(
    lambda cut: good[:cut] + b"~" + good[cut:])))  # fmt: skip
def test_whatever_is_in_the_file_is_refused_by_one_family_of_errors(data: bytes) -> None:
    try:
        peers = cache_module._parse_untrusted(data)
    except (ValueError, RecursionError):
        return
    assert all(isinstance(peer, KnownPeer) for peer in peers)


async def test_a_file_that_cannot_be_written_stays_as_it_was_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "peers.json"
    cache = PeerCache(path)
    await cache.save([make_peer(1)])
    obstacle = tmp_path / "peers.json.tmp"
    obstacle.mkdir()
    assert not await cache.save([make_peer(2)])
    assert not await cache.save([make_peer(2)])
    assert await cache.load() == (make_peer(1),)
    assert len(warnings(caplog)) == 1
    obstacle.rmdir()
    assert await cache.save([make_peer(2)])


async def test_each_cached_peer_is_offered_once_before_the_source_has_started(
    autojump_clock: trio.testing.MockClock,
) -> None:
    offered: list[Sighting] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(CacheSource([make_peer(1), make_peer(2)]).run, offered.append)
        assert offered == [Sighting("cache", make_peer(n).addresses, f"agent-{n}") for n in (1, 2)]
        await trio.sleep(3600)
        assert len(offered) == 2
        nursery.cancel_scope.cancel()


async def test_cached_peers_are_offered_again_where_the_machine_moved(autojump_clock: trio.testing.MockClock) -> None:
    offered: list[Sighting] = []
    source = CacheSource([make_peer(1)])
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run, offered.append)
        source.move(Endpoints((Address("192.0.2.7", 7700),), ()))
        await trio.sleep(1)
        assert len(offered) == 2
        nursery.cancel_scope.cancel()
