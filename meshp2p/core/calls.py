"""The calls that nodes make: a request with one reply over TCP, for what must arrive or does not fit into a packet.

Fields are positional on the wire and may only be appended.
"""

import enum
from typing import Annotated, Final

import msgspec

from meshp2p.core.datagrams import Word
from meshp2p.core.digest import Buckets, Digest
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync, MapTaken
from meshp2p.core.message import CopyReceipt, Id, Message
from meshp2p.core.record import ID_BYTES_MAX, Claim, Item, Record, SignedRecord

__all__ = [
    "COPIES_MAX",
    "ITEMS_PER_CALL_MAX",
    "Acknowledged",
    "AskInstance",
    "CallReply",
    "CallRequest",
    "Deliver",
    "DeliverReply",
    "Deposit",
    "DeregisterReply",
    "Done",
    "FetchReply",
    "ForwardAcknowledge",
    "ForwardDeregister",
    "ForwardFetch",
    "ForwardHeartbeat",
    "ForwardStatus",
    "HeartbeatReply",
    "InstanceReply",
    "LeaseAsk",
    "LeaseRelease",
    "LeaseReply",
    "Outcome",
    "Parcel",
    "Passed",
    "Pong",
    "Probe",
    "Push",
    "Refused",
    "SendReply",
    "StatusReply",
    "SyncReply",
    "SyncRequest",
    "Why",
]

ITEMS_PER_CALL_MAX: Final = 4096
"""The most items that one call may carry, whatever ``sync_bytes_max`` says. Chosen, not measured."""

COPIES_MAX: Final = 65_536
"""The most messages, recipients or copies that one call may name, and the most instances that a node may list."""


Text = Annotated[str, msgspec.Meta(max_length=1024)]
Items = Annotated[tuple[Item, ...], msgspec.Meta(max_length=ITEMS_PER_CALL_MAX)]
Parcels = Annotated[tuple["Parcel", ...], msgspec.Meta(max_length=COPIES_MAX)]


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Are you the node with this tag? Sent where UDP had no answer, and to find out whether a rival for an id lives."""

    target: Word


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The answer to :class:`Probe`, whatever its target: who answers here, the boot of that process, and its view's
    hash.

    Where UDP does not get through, this is how two nodes notice that their views differ.
    """

    id: str
    boot: Word
    view: Word


class SyncRequest(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Sent to a node whose view differs, or that was just found. ``buckets`` is the digest of the sender's view
    (:mod:`meshp2p.core.digest`).

    ``sender`` is absent until the sender knows that its id is its own. ``claim`` is the greatest claim to lead that the
    sender knows of.
    """

    buckets: Digest
    sender: Record | SignedRecord | None
    claim: Claim = (0, "")


class SyncReply(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All that the replier knows in the buckets that differ, up to a bound; ``sender`` is its own record.

    ``differing`` are the numbers of those buckets: the asker then sends what it knows better with :class:`Push`.
    ``is_settled`` says whether the replier has been in a mesh for long enough to name a leader, ``claim`` is the
    greatest claim to lead that it knows of. Where it ``is_leaving``, ``sender`` is not to be listed any more.
    """

    sender: Record | SignedRecord
    is_settled: bool
    items: Items
    differing: Buckets
    claim: Claim = (0, "")
    is_leaving: bool = False


class Push(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Gossip over TCP: the second half of a sync, or what does not fit into a packet. Answered with :class:`Done`."""

    sender: Word
    items: Items


class Done(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The answer to :class:`Push`: it was taken."""


class ForwardHeartbeat(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A heartbeat for an instance that the receiver hosts (or is), from the node that was asked. Answered with
    :class:`HeartbeatReply`."""

    id: str
    status: Text
    metrics: str


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Whether the heartbeat counted, and whether the instances or the leader changed since the one before."""

    is_acknowledged: bool
    should_sync: bool


class ForwardDeregister(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A deregistration of an instance that the receiver hosts. Answered with :class:`DeregisterReply`."""

    id: str


class DeregisterReply(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Whether there was such an instance."""

    was_found: bool


class AskInstance(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """A question about an instance that the receiver hosts (or is). The reply is :class:`InstanceReply`."""

    id: str


class InstanceReply(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """``record`` with the status and metrics that the instance reported last, published or not, and the milliseconds
    since its last sign of life; None if there is no such instance any more. It is shown and not kept: no incarnation
    stands for it. ``is_home``: the replier answers for the instance, or did until it departed. ``owner`` is the caller
    that registered the instance, empty in an open mesh."""

    record: Record | SignedRecord | None
    age_ms: Word = 0
    is_home: bool = True
    owner: Text = ""


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """A message for some of its recipients, and the seconds for which it is still to be kept."""

    message: Message
    recipients: Annotated[tuple[Id, ...], msgspec.Meta(min_length=1, max_length=COPIES_MAX)]
    seconds_left: Annotated[float, msgspec.Meta(ge=0)]


class Outcome(enum.IntEnum):
    """The result of a home for one recipient's copy."""

    TAKEN = 0
    """It is in the mailbox, on disk where there is one."""
    ACKNOWLEDGED = 1
    """The recipient has acknowledged it already."""
    FULL = 2
    """The mailbox, or the disk, has no room: try later."""
    ELSEWHERE = 3
    """The recipient is not at home here."""


class Deliver(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Sent by ``holder``, a node that keeps these messages until they are acknowledged, to their recipients' home.
    Answered with :class:`DeliverReply`. Copies for one recipient are in the order in which they are to be read.

    ``boot`` is that of the home to which earlier ones were delivered. A home with another takes none of them: it has
    not what is to be read before. 0 is any.
    """

    holder: Id
    parcels: Parcels
    boot: Word = 0


class DeliverReply(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """For each parcel, for each of its recipients, what was done with the copy."""

    outcomes: Annotated[
        tuple[Annotated[tuple[Outcome, ...], msgspec.Meta(max_length=COPIES_MAX)], ...],
        msgspec.Meta(max_length=COPIES_MAX),
    ]


class Acknowledged(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Sent by the home ``by`` to a holder: these recipients acknowledged these messages, pairs of (recipient, message
    id). Answered with :class:`Done`, after which the holder never sends them again."""

    copies: Annotated[tuple[tuple[Id, Text], ...], msgspec.Meta(max_length=COPIES_MAX)]
    by: Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)] = ""


class Deposit(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Sent by a holder that leaves, or that is not their recipients' home any more: keep these in my place. Answered
    with :class:`Done`."""

    parcels: Parcels


class ForwardFetch(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """A read of a mailbox, sent to the recipient's home: up to ``limit`` messages behind the one with the id ``after``,
    or the oldest ones; where there is none, wait so many seconds for one. Answered with :class:`FetchReply`."""

    recipient: Id
    limit: Word
    after: Text
    wait: Annotated[float, msgspec.Meta(ge=0, le=60)]


class FetchReply(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """The waiting messages of a mailbox, the oldest first. ``is_home``: whether the replier is the recipient's home."""

    messages: Annotated[tuple[Message, ...], msgspec.Meta(max_length=COPIES_MAX)]
    is_home: bool = True


class ForwardAcknowledge(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """An acknowledgement, sent to the recipient's home. Answered with :class:`Done`, or with
    :class:`Refused`."""

    recipient: Id
    message_ids: Annotated[tuple[Text, ...], msgspec.Meta(max_length=COPIES_MAX)]


class ForwardStatus(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """A question for the node that accepted a message. Answered with :class:`StatusReply`."""

    message_id: Text


class StatusReply(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """The status of each copy; empty if the replier does not know the message, or no longer."""

    receipts: Annotated[tuple[CopyReceipt, ...], msgspec.Meta(max_length=COPIES_MAX)]


class Why(enum.IntEnum):
    """Why a request was refused after it had been looked at."""

    STORE_FULL = 1
    """It cannot be kept: the disk refuses."""
    MAILBOX_FULL = 2
    UNREACHABLE = 3
    """The node that has to answer does not, directly or through others."""
    NOT_HOME = 4
    """The receiver is not the recipient's home."""
    NOT_OWNER = 5
    """The sender's id belongs to a node of another machine of the secured mesh."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """The answer to a request that was not fulfilled: nothing was kept of it, except where ``why`` is ``UNREACHABLE``
    and nobody knows."""

    why: Why
    message: Text


class SendReply(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """A message was accepted, for these recipients."""

    message_id: Text
    delivered_to: Annotated[tuple[Id, ...], msgspec.Meta(max_length=COPIES_MAX)]


Passed = Deliver | Acknowledged | ForwardFetch | ForwardAcknowledge | ForwardStatus


class LeaseAsk(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Sent by ``home``, the home of ``leader_id``, under a quorum: grant the leadership to it for ``seconds``. Answered
    with :class:`LeaseReply`; see :mod:`meshp2p.core.swim.lease`.

    ``number`` grows with every ask of this process, and ``boot`` is that of the process. ``quorum`` is the asker's: a
    node with another one does not grant.
    """

    leader_id: Id
    home: Id
    boot: Word
    number: Word
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    quorum: Word


class LeaseReply(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Whether the replier grants: then it grants to nobody else for the seconds that were asked, and a margin."""

    is_granted: bool


class LeaseRelease(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """Sent to a granter: the sender does not lead any more, and gives up what it asked for up to ``number``. Answered
    with :class:`Done`."""

    leader_id: Id
    home: Id
    boot: Word
    number: Word


CallRequest = (
    Probe
    | SyncRequest
    | Push
    | ForwardHeartbeat
    | ForwardDeregister
    | AskInstance
    | Deliver
    | Acknowledged
    | Deposit
    | ForwardFetch
    | ForwardAcknowledge
    | ForwardStatus
    | LeaseAsk
    | LeaseRelease
    | MapSync
    | MapPush
)
CallReply = (
    Pong
    | SyncReply
    | Done
    | HeartbeatReply
    | DeregisterReply
    | InstanceReply
    | DeliverReply
    | FetchReply
    | StatusReply
    | Refused
    | SendReply
    | LeaseReply
    | MapDifference
    | MapTaken
)
