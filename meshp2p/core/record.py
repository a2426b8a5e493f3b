"""Records and rumours, and the rule that decides which of two claims prevails.

The owner of a record is its home: the node itself, or the node that answers for a hosted instance. Only the owner
raises the incarnation. Other nodes may declare an incarnation suspect or dead; the owner refutes with a greater one
(SWIM §4.2). All shared state is carried by a :class:`Record` (all data of an instance) or a :class:`Rumour` (only that
an incarnation is suspect, dead or left).
"""

import enum
import functools
import hashlib
from typing import Annotated, Final

import msgspec

from meshp2p.core.address import Address

__all__ = [
    "ADDRESSES_MAX",
    "BOOT_DICE_BITS",
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
    "Proof",
    "Record",
    "Rumour",
    "SignedRecord",
    "SignedRumour",
    "State",
    "claim_fingerprint",
    "epoch_above",
    "epoch_limit",
    "fingerprint",
    "id_owner",
    "is_sound",
    "is_usurped",
    "owner_of",
    "supersedes",
    "tag_of",
    "unsigned",
]

ID_BYTES_MAX: Final = 128
"""The longest instance id, in bytes of UTF-8. The shortest has one byte."""

SHORT_MAX: Final = 1024
"""The longest text in a record other than ids and metrics, in characters."""

NAMES_MAX: Final = 256
"""The maximum number of capabilities, and of profiles, of one instance."""

ADDRESSES_MAX: Final = 16
"""The maximum number of addresses of one node. A node calls all of them at the same time."""

BOOT_DICE_BITS: Final = 16
"""The lowest bits of a boot, which are random. Those above them are the number of the process."""

COUNTER_MAX: Final = (1 << 63) - 1
"""The greatest counter on the wire."""

INCARNATION_MAX: Final = 1 << 62
"""The greatest valid incarnation. If another node claims it for an id, the owner cannot outbid the claim and ends."""

INCARNATION_STEP_MAX: Final = 1 << 43
"""By how much a rumour may exceed the last incarnation that the owner is known to have published: 279 years in
milliseconds.

Rumours beyond it are forged. It is not measured from earlier rumours, because two of them could then put an id out of
its owner's reach. Chosen, not measured.
"""

EPOCH_MAX: Final = 1 << 62
"""The greatest epoch that is accepted or claimed, so that a greater one still fits into 63 bits. Chosen, not
measured."""

EPOCH_SKIP_MAX: Final = 1 << 20
"""The maximum by which a claim to lead exceeds the greatest epoch known to its process. Two processes with the same
knowledge and the same id draw the same epoch once in this many times. Chosen, not measured."""

EPOCHS_PER_MS: Final = 1 << 19
"""How fast epochs can grow per millisecond, with one claim on average: see :func:`epoch_limit`. With it, the limit
reaches ``EPOCH_MAX`` in the year 2248. Chosen, not measured."""

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
    """The claimed state of an incarnation. The order is the precedence: a later state outranks an earlier one."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


class Record(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """All data of an instance, as its home last published it.

    ``addresses`` are those at which a node can be reached, the best first; a hosted instance has none. ``boot``
    distinguishes two processes with one id: every process draws a new one, the older process has the lower one, and a
    hosted instance carries that of its home. ``epoch`` and ``epoch_since`` (Unix milliseconds) are the instance's
    latest claim to lead, 0 if it never led. ``metrics`` is a JSON object as text, empty if there are none.
    ``created_at`` is in Unix milliseconds.
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
        """Whether this is a node, not a hosted instance."""
        return self.home == self.id

    @property
    def is_live(self) -> bool:
        """Whether the instance is listed: alive or suspect."""
        return self.state <= State.SUSPECT


class Rumour(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A claim that an incarnation is suspect, dead or left. ``by`` is the id of the node that found it, empty if there
    is none.

    For a suspicion, ``by`` decides whether a confirmation is independent (Lifeguard §IV-B). ``is_refused`` means that
    ``by`` was refused: the host reported that no process listens there, and the node did not answer by UDP.
    """

    id: Id
    incarnation: Counter
    state: State
    by: Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)] = ""
    is_refused: bool = False


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """Proves that a machine of a secured mesh published a record. The layer that decodes verifies it; the core compares
    owners.

    ``owner`` is the fingerprint of the machine's key, and ``signature`` is by that key. ``keys`` are the current and
    the next public key for datagrams to the node, with the numbers ``key_number`` and ``key_number + 1``; a hosted
    instance has none.
    """

    owner: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, msgspec.Meta(max_length=80)]
    key_number: Counter = 0
    keys: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)], ...], msgspec.Meta(max_length=2)
    ] = ()


class SignedRecord(Record, frozen=True, array_like=True, tag=3):
    """A record in a secured mesh."""

    proof: Proof = Proof(bytes(32), b"")


class SignedRumour(Rumour, frozen=True, array_like=True, tag=4):
    """A rumour in a secured mesh, signed by the machine of the node ``by``."""

    signature: Annotated[bytes, msgspec.Meta(max_length=80)] = b""


Item = Record | Rumour | SignedRecord | SignedRumour


class Departed(msgspec.Struct):
    """What a node remembers of an instance that died or left, so that gossip does not revive it and its node can be
    called again.

    ``since`` is the caller's clock; ``by`` is the node that found it; ``calls`` counts how often a dead node was called
    since; ``boot`` is that of its process and ``published`` the incarnation of its last record, both 0 if it was never
    listed; ``home`` was its home, empty if unknown. In a secured mesh ``proof`` is that of its last record, and
    ``rumour`` the signed claim that it departed.
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
    proof: Proof | None = None
    rumour: SignedRumour | None = None

    @property
    def was_listed(self) -> bool:
        return self.published > 0

    def as_rumour(self) -> Rumour:
        return self.rumour or Rumour(self.id, self.incarnation, self.state, self.by)


def is_sound(item: Item, published: int) -> bool:
    """Return whether a correct node can have made this claim.

    ``published`` is the incarnation of the last record here with that id, 0 if there was none. A record is of a live
    instance; it has addresses if it is a node's and none if it is hosted. A rumour says suspect, dead or left, of an
    incarnation near a published one.
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
    """Return whether the claim ``new`` prevails over ``old`` about the same id: the greater (incarnation, state) does.

    If two records are equal in both but differ in content, their bytes decide, so that all nodes keep the same one.
    Merging by this rule is commutative, associative and idempotent.
    """
    if new.incarnation != old.incarnation:
        return new.incarnation > old.incarnation
    if new.state is not old.state:
        return new.state > old.state
    if isinstance(new, Record) and isinstance(old, Record) and new != old:
        return msgspec.msgpack.encode(new) > msgspec.msgpack.encode(old)
    return False


def is_usurped(item: Record, held: Record | Departed | None) -> bool:
    """Return whether a record claims the id of a node that belongs to another machine."""
    owner = id_owner(held)
    return owner != b"" and owner_of(item) != owner


def id_owner(held: Record | Departed | None) -> bytes:
    """Return the machine that an id belongs to; empty if any machine may claim it.

    The id of a node belongs to the machine that published it first, until the node leaves or is forgotten. The id of a
    hosted instance belongs to no machine.
    """
    if held is None or not held.is_node or held.state is State.LEFT:
        return b""
    return owner_of(held)


def owner_of(claim: Record | Departed) -> bytes:
    """Return the machine that published this; empty if it is not signed."""
    proof = claim.proof if isinstance(claim, (SignedRecord, Departed)) else None
    return b"" if proof is None else proof.owner


def unsigned(record: Record) -> Record:
    """Return the record without its proof."""
    if not isinstance(record, SignedRecord):
        return record
    return Record(*(getattr(record, field) for field in Record.__struct_fields__))


@functools.lru_cache(maxsize=1 << 16)
def tag_of(instance_id: str) -> int:
    """Return the 64 bits that stand for an id in packets, where the id itself would take half of the packet."""
    return int.from_bytes(hashlib.blake2b(instance_id.encode(), digest_size=8).digest(), "big")


def fingerprint(record: Record) -> int:
    """Return 64 bits that differ between two published versions of a record. Alive and suspect share them.

    A process publishes each incarnation once, so id, incarnation and boot identify the content. The XOR over all live
    records is the view's hash. The mixing is splitmix64's finaliser.
    """
    return _mix(tag_of(record.id) + record.incarnation * 0x9E3779B97F4A7C15 + record.boot * 0xD1B54A32D192ED03)


def claim_fingerprint(claim: Claim) -> int:
    """Return 64 bits for a claim to lead, 0 for none. Those of the greatest claim are part of the view's hash."""
    epoch, leader_id = claim
    return _mix(tag_of(leader_id) ^ epoch * 0x9E3779B97F4A7C15) if epoch else 0


def epoch_above(known: int, boot: int) -> int:
    """Return the epoch to claim for a process that knows of none greater than ``known``: 1 to ``EPOCH_SKIP_MAX`` more.

    The increment depends on the process. Two processes with one id on two sides of a partition cannot hear of each
    other's claims; with an increment of 1 both would have the same fencing token.
    """
    return known + 1 + _mix(boot ^ _mix(known)) % EPOCH_SKIP_MAX


def epoch_limit(wall_ms: int) -> int:
    """Return the greatest valid epoch at this time of day, whatever was claimed before, since no leaders can have come
    further.

    It is about the same for all nodes, including new ones, so they accept the same claims. It grows faster than leaders
    can claim, so every valid claim can be outbid.
    """
    return min(EPOCH_MAX, EPOCHS_PER_MS * max(wall_ms, _EPOCHS_SINCE_MS))


def _mix(word: int) -> int:
    word &= _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
