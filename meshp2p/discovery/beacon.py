"""The beacon: a node without peers asks all nodes on its networks to answer.

It finds peers if multicast DNS cannot: it uses another port, and broadcast as well as multicast.

How two nodes meet: the node without peers sends a :class:`~meshp2p.wire.beacon.BeaconQuestion` at once, and then after
pauses that double from ``PAUSE_FIRST`` to ``PAUSE_LAST``. A node that hears it answers to the sender's address, and
calls the sender; one of the two is enough. In a large mesh only about ``ANSWERS`` nodes do so. A node with peers asks
less often: its pause is ``PAUSE_IN_COMPANY`` times the number of nodes. So two meshes that formed while the network was
cut become one.

All received packets share one rate limit, so that nobody can make a node dial or answer more often than that.
"""

from __future__ import annotations

import collections
import ipaddress
import secrets
from collections.abc import Callable, Sequence

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.core.randomness import Randomness
from meshp2p.discovery.beacon_sockets import Air, BeaconSockets, Reply
from meshp2p.discovery.endpoints import Endpoints, Link, is_callable
from meshp2p.discovery.source import FailureLog, Offer, Sighting, delays
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.beacon import BeaconAnswer, BeaconQuestion
from meshp2p.wire.codec import Codec

__all__ = ["BeaconSource", "BeaconStats", "ask_once"]

# All of these are chosen, not measured.
PAUSE_FIRST, PAUSE_LAST = 0.25, 5.0  # seconds between the questions of a node that is alone
PAUSE_IN_COMPANY = 60.0  # seconds, times the nodes of the mesh: together they ask about once a minute
LOOK_INTERVAL = 1.0  # seconds between two looks at whether the node is alone
ANSWERS = 4  # nodes of a mesh that answer one question, on average
HEARD_RATE, HEARD_BURST = 50.0, 200.0  # packets a second that are looked into
NUMBERS_MAX = 256  # questions, our own and those of others, that are remembered
RETRY_FIRST, RETRY_LAST = 1.0, 60.0  # seconds, after an unexpected failure of the sockets

OpenAir = Callable[[Sequence[Link]], Air]


class BeaconStats(msgspec.Struct):
    """Counters since the start. ``refused`` counts, by reason, packets that were no beacon of this mesh."""

    questions_asked: int = 0
    questions_heard: int = 0
    answers_sent: int = 0
    answers_heard: int = 0
    limited: int = 0
    """Packets that were dropped unread, because too many arrived."""
    refused: dict[Refusal, int] = msgspec.field(default_factory=dict)


class BeaconSource:
    """Asks and answers for one node, at ``place``, until cancelled. ``company()`` returns how many other nodes it
    lists.

    ``open_air`` opens the network; tests replace it.
    """

    name = "beacon"

    def __init__(
        self,
        instance_id: str,
        codec: Codec,
        place: Endpoints,
        company: Callable[[], int],
        random: Randomness,
        *,
        open_air: OpenAir = BeaconSockets,
    ) -> None:
        self.stats: BeaconStats = BeaconStats()
        self._id = instance_id
        self._codec = codec
        self._place = place
        self._company = company
        self._random = random
        self._open_air = open_air
        self._run = random.randrange(0, 1 << 64)
        self._asked: collections.deque[int] = collections.deque(maxlen=NUMBERS_MAX)
        self._heard: collections.deque[int] = collections.deque(maxlen=NUMBERS_MAX)
        self._allowance = _Allowance(HEARD_RATE, HEARD_BURST)
        self._failures: dict[str, FailureLog] = {}
        self._wake = trio.Event()
        self._session = trio.CancelScope()

    def move(self, place: Endpoints) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        if place != self._place:
            self._place = place
            self._session.cancel()

    def refresh(self) -> None:
        """See :class:`~meshp2p.discovery.source.Source`. Two questions are at least ``PAUSE_FIRST`` apart."""
        self._wake.set()

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.source.Source`. One call at a time."""

        def receive(data: bytes, source: Address, reply: Reply) -> None:
            self._receive(data, source, reply, offer)

        failures = FailureLog("discovery by the beacon")
        retry = delays(RETRY_FIRST, RETRY_LAST)
        while True:
            is_broken = False
            with trio.CancelScope() as self._session:
                air = self._open_air(self._place.links)
                try:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(air.run, receive)
                        task_status.started()
                        task_status = trio.TASK_STATUS_IGNORED
                        await self._ask_for_ever(air)
                except Exception as error:  # noqa: BLE001 - a source outlives whatever the network does
                    failures.failed(error)
                    is_broken = True
            if is_broken:
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await trio.sleep(next(retry))

    # Asking

    async def _ask_for_ever(self, air: Air) -> None:
        was_alone = self._company() == 0
        pauses = delays(PAUSE_FIRST, PAUSE_LAST)
        asked_at, due = float("-inf"), trio.current_time()
        while True:
            now = trio.current_time()
            is_alone = self._company() == 0
            if is_alone and not was_alone:  # perhaps all others lost their company at the same time: not all at once
                pauses = delays(PAUSE_FIRST, PAUSE_LAST)
                due = now + PAUSE_FIRST * self._random.random()
            elif was_alone and not is_alone:
                due = now + self._pause_in_company()
            was_alone = is_alone
            if now >= due:
                self._ask(air)
                asked_at = now
                due = now + (next(pauses) * self._jitter() if is_alone else self._pause_in_company())
            with trio.move_on_after(max(0.0, min(due - now, LOOK_INTERVAL))):
                await self._wake.wait()
            if self._wake.is_set():
                self._wake = trio.Event()
                pauses = delays(PAUSE_FIRST, PAUSE_LAST)
                due = asked_at + PAUSE_FIRST

    def _pause_in_company(self) -> float:
        return PAUSE_IN_COMPANY * (self._company() + 1) * self._jitter()

    def _jitter(self) -> float:
        return 0.75 + 0.5 * self._random.random()

    def _ask(self, air: Air) -> None:
        number = self._random.randrange(0, 1 << 64)
        self._asked.append(number)
        self.stats.questions_asked += 1
        question = BeaconQuestion(number, self._run, self._id, self._place.addresses)
        for part, error in air.shout(self._codec.encode(question)).items():
            log = self._failures.setdefault(part, FailureLog(part))
            if error is None:
                log.succeeded()
            else:
                log.failed(error)

    # Hearing

    def _receive(self, data: bytes, source: Address, reply: Reply, offer: Offer) -> None:
        stats = self.stats
        if not self._allowance.spend(trio.current_time()):
            stats.limited += 1
            return
        try:
            message = self._codec.decode_beacon_untrusted(data)
        except RemoteProtocolError as error:
            stats.refused[error.reason] = stats.refused.get(error.reason, 0) + 1
            return
        if isinstance(message, BeaconAnswer):
            if message.number in self._asked:
                stats.answers_heard += 1
                self._offer(message, source, offer)
            return
        if message.run == self._run or message.number in self._heard:
            return  # our own, or heard before: it comes by multicast and by broadcast, on each link that we share
        self._heard.append(message.number)
        stats.questions_heard += 1
        others = self._company()
        if others >= ANSWERS and self._random.random() * (others + 1) > ANSWERS:
            return
        self._offer(message, source, offer)
        try:
            reply(self._codec.encode(BeaconAnswer(message.number, self._id, self._place.addresses)))
        except OSError:
            return  # the call that follows the offer may still reach it
        stats.answers_sent += 1

    def _offer(self, message: BeaconQuestion | BeaconAnswer, source: Address, offer: Offer) -> None:
        addresses = callable_at(message, source)
        if addresses:
            offer(Sighting(self.name, addresses, message.id))


def callable_at(message: BeaconQuestion | BeaconAnswer, source: Address) -> tuple[Address, ...]:
    """Return the addresses at which the sender of a packet from ``source`` may be called: ``source`` first, then those
    in the packet. A loopback address is ignored if the packet came from another machine."""
    is_here = ipaddress.ip_address(source.host).is_loopback
    found = dict.fromkeys(
        address for address in message.addresses if is_callable(address.host, may_be_loopback=is_here)
    )
    if message.addresses and is_callable(source.host, may_be_loopback=False):
        found = {Address(source.host, message.addresses[0].port): None, **found}
    return tuple(found)


async def ask_once(
    codec: Codec, links: Sequence[Link], timeout: float, *, enough: int | None = None, open_air: OpenAir = BeaconSockets
) -> tuple[dict[str, tuple[Address, ...]], dict[str, OSError | None]]:
    """Ask for nodes without being one: three times, for ``timeout`` seconds or until ``enough`` have answered.

    Return the addresses of each id, and the result of each part of the search. Cancel-safe.
    """
    found: dict[str, tuple[Address, ...]] = {}
    outcome: dict[str, OSError | None] = {}
    run, *asked = (secrets.randbits(64) for _ in range(4))

    def receive(data: bytes, source: Address, _reply: Reply) -> None:
        try:
            message = codec.decode_beacon_untrusted(data)
        except RemoteProtocolError:
            return
        is_answer = isinstance(message, BeaconAnswer) and message.number in asked
        if not (is_answer or (message.id and isinstance(message, BeaconQuestion))):
            return
        addresses = callable_at(message, source)
        if addresses and len(found) < NUMBERS_MAX:
            found[message.id] = addresses
            if enough is not None and len(found) >= enough:
                scope.cancel()

    with trio.move_on_after(timeout) as scope:
        async with trio.open_nursery() as nursery:
            air = open_air(links)
            await nursery.start(air.run, receive)
            for number in asked:
                outcome = air.shout(codec.encode(BeaconQuestion(number, run)))
                await trio.sleep(timeout / (len(asked) + 1))
            await trio.sleep_forever()
    return found, outcome


class _Allowance:
    """A token bucket: ``rate`` tokens a second on average, ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._left = burst
        self._at = 0.0

    def spend(self, now: float) -> bool:
        """Take one token if there is one, and return whether there was."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
