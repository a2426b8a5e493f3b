"""What a mesh knows of one instance, and the one rule of which of two claims prevails.

The owner of a record is its home: the node itself, or the node that answers for an agent which speaks only HTTP. Only
the owner raises the incarnation. Others may say of an incarnation that it is suspect or dead; the owner refutes with a
greater one (SWIM §4.2). Everything a mesh agrees on is carried by two things: a :class:`Record` (all there is to know)
and a :class:`Rumour` (only that an incarnation is suspect, dead or left).
"""

from __future__ import annotations

import enum
import functools
import hashlib
from typing import Annotated, Final

import msgspec

from meshp2p.core.address import Address

__all__ = [
    "ADDRESSES_MAX",
    "COUNTER_MAX",
    "EPOCH_MAX",
    "EPOCH_SKIP_MAX",
    "ID_BYTES_MAX",
    "INCARNATION_MAX",
    "INCARNATION_STEP_MAX",
    "NAMES_MAX",
    "SHORT_MAX",
    "Claim",
    "Departed",
    "Item",
    "Record",
    "Rumour",
    "State",
    "claim_fingerprint",
    "epoch_above",
    "epoch_limit",
    "fingerprint",
    "is_sound",
    "supersedes",
    "tag_of",
]

ID_BYTES_MAX: Final = 128
"""The longest instance id, in bytes of UTF-8. The shortest has one byte."""

SHORT_MAX: Final = 1024
"""The longest text in a record beside ids and metrics, in characters."""

NAMES_MAX: Final = 256
"""The most capabilities, and the most profiles, of one instance."""

ADDRESSES_MAX: Final = 16
"""The most addresses of one node. A node calls all of them at the same time."""

COUNTER_MAX: Final = (1 << 63) - 1
"""The greatest counter on the wire."""

INCARNATION_MAX: Final = 1 << 62
"""The greatest incarnation that is believed. A node whose id is claimed under it cannot outbid the claim: it ends."""

INCARNATION_STEP_MAX: Final = 1 << 43
"""By how much a rumour may exceed the incarnation that the owner published last, as far as is known here: 279 years of
milliseconds. What exceeds it is made up. Measured from what rumours say, two of them would put an id out of its owner's
reach. Chosen, not measured."""

EPOCH_MAX: Final = 1 << 62
"""The greatest epoch that is taken or claimed, so that a greater one still fits into 63 bits. Chosen, not measured."""

EPOCH_SKIP_MAX: Final = 1 << 20
"""By how much one claim to lead exceeds the greatest epoch that its process knows, at most. Two processes that know the
same and share an id draw the same epoch once in so many times. Chosen, not measured."""

EPOCHS_PER_MS: Final = 1 << 19
"""How far leaders can have come in a millisecond, on average one claim: see :func:`epoch_limit`. With it the limit is
``EPOCH_MAX`` in the year 2248. Chosen, not measured."""

_EPOCHS_SINCE_MS: Final = 1_577_836_800_000
"""The beginning of 2020, for a clock that was never set."""

_MASK: Final = (1 << 64) - 1

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
Short = Annotated[str, msgspec.Meta(max_length=SHORT_MAX)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=COUNTER_MAX)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Names = Annotated[tuple[Short, ...], msgspec.Meta(max_length=NAMES_MAX)]
Claim = tuple[Counter, Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)]]
"""A claim to lead, the fencing token: (epoch, leader id). The greater is the later; ``(0, "")`` is none."""


class State(enum.IntEnum):
    """What is claimed of an incarnation. The order is the precedence: a later state outranks an earlier one."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Record(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """All there is to know of one instance, as its home last published it.

    ``addresses`` are those under which a node can be reached, best first; a hosted instance has none. ``boot`` tells
    two processes with one id apart: it is drawn anew by every process, the older process has the lower one, and a
    hosted instance bears its home's. ``epoch`` and ``epoch_since`` (Unix milliseconds) are the instance's latest claim
    to lead, 0 where it never led. ``metrics`` is a JSON object as text, empty where there are none. ``created_at`` is
    in Unix milliseconds.
    """

    id: Id
    incarnation: Counter
    state: State
    home: Id
    boot: Counter
    addresses: Annotated[tuple[Address, ...], msgspec.Meta(max_length=ADDRESSES_MAX)]
    hostname: Short
    port: Port
    capabilities: Names
    profiles: Names
    created_at: Counter
    epoch: Counter = 0
    epoch_since: Counter = 0
    status: Short = ""
    metrics: str = ""

    @property
    def is_node(self) -> bool:
        """Whether this is a node itself, not an instance that a node hosts."""
        return self.home == self.id

    @property
    def is_live(self) -> bool:
        """Whether the instance is listed: it is alive or suspected."""
        return self.state <= State.SUSPECT


class Rumour(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """That an incarnation is suspect, dead or left. ``by`` is the id of who found it so, empty where nobody in
    particular did.

    For a suspicion ``by`` decides whether a confirmation is independent (Lifeguard §IV-B), and ``is_refused`` says that
    ``by`` was refused: the host answered that nobody listens there, and the node did not answer by UDP.
    """

    id: Id
    incarnation: Counter
    state: State
    by: Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)] = ""
    is_refused: bool = False


Item = Record | Rumour


class Departed(msgspec.Struct):
    """What is kept of an instance that died or left, so that gossip does not bring it back and its node can be called
    again.

    ``since`` is the caller's clock; ``by`` is who found it so; ``calls`` counts how often a dead node was called since;
    ``boot`` is that of its process and ``published`` the incarnation of its last record, both 0 where it was never
    listed; ``home`` was its home, empty if that is not known.
    """

    id: str
    incarnation: int
    state: State
    addresses: tuple[Address, ...]
    is_node: bool
    since: float
    by: str = ""
    calls: int = 0
    boot: int = 0
    published: int = 0
    home: str = ""

    @property
    def was_listed(self) -> bool:
        return self.published > 0

    def as_rumour(self) -> Rumour:
        return Rumour(self.id, self.incarnation, self.state, self.by)


def is_sound(item: Item, published: int) -> bool:
    """Whether a node that follows the protocol can have made this claim about an id whose last record here had the
    incarnation ``published``, 0 where there was none.

    A record is of a live instance, and has addresses where it is a node's and none where it is hosted; a rumour says
    suspect, dead or left, of an incarnation near one that was published.
    """
    if isinstance(item, Rumour):
        return item.state is not State.ALIVE and item.incarnation <= min(
            INCARNATION_MAX, published + INCARNATION_STEP_MAX
        )
    return (
        item.state <= State.SUSPECT
        and item.incarnation <= INCARNATION_MAX
        and item.epoch <= EPOCH_MAX
        and (item.home == item.id) == bool(item.addresses)
    )


def supersedes(new: Item | Departed, old: Item | Departed) -> bool:
    """Whether the claim ``new`` prevails over ``old`` about the same id: the greater (incarnation, state) does.

    Two records that are equal in both but differ in content are ordered by their bytes, so that all nodes keep the same
    one. Merging by this rule is commutative, associative and idempotent.
    """
    if new.incarnation != old.incarnation:
        return new.incarnation > old.incarnation
    if new.state is not old.state:
        return new.state > old.state
    if isinstance(new, Record) and isinstance(old, Record) and new != old:
        return msgspec.msgpack.encode(new) > msgspec.msgpack.encode(old)
    return False


@functools.lru_cache(maxsize=1 << 16)
def tag_of(instance_id: str) -> int:
    """The 64 bits that stand for an id in packets, where the id itself would cost half of the packet."""
    return int.from_bytes(hashlib.blake2b(instance_id.encode(), digest_size=8).digest(), "big")


def fingerprint(record: Record) -> int:
    """64 bits that differ between two published versions of a record; alive and suspect share them.

    A process publishes each incarnation once, so id, incarnation and boot identify the content. XORed over all live
    records they make the view's hash. The mixing is splitmix64's finaliser.
    """
    return _mix(tag_of(record.id) + record.incarnation * 0x9E3779B97F4A7C15 + record.boot * 0xD1B54A32D192ED03)


def claim_fingerprint(claim: Claim) -> int:
    """64 bits for a claim to lead, 0 for none: that of the greatest one is part of the view's hash."""
    epoch, leader_id = claim
    return _mix(tag_of(leader_id) ^ epoch * 0x9E3779B97F4A7C15) if epoch else 0


def epoch_above(known: int, boot: int) -> int:
    """The epoch that a process claims which knows of none greater than ``known``: 1 to ``EPOCH_SKIP_MAX`` more.

    How much more depends on the process. Two with one id, one started beyond a partition while the other lives, cannot
    hear of each other's claims; with a step of 1 both would hold the same fencing token.
    """
    return known + 1 + _mix(boot ^ _mix(known)) % EPOCH_SKIP_MAX


def epoch_limit(wall_ms: int) -> int:
    """The greatest epoch that is believed at this time of day, whatever was claimed before: no leaders can have come
    further.

    It is about the same for all nodes, also for one that has just begun, so that what one believes the others do. It
    grows faster than leaders can claim, so that whatever is believed can be outbid.
    """
    return min(EPOCH_MAX, EPOCHS_PER_MS * max(wall_ms, _EPOCHS_SINCE_MS))


def _mix(word: int) -> int:
    word &= _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
