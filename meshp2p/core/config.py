"""The options of the protocol: what each does and how to choose it."""

# no `annotations` from `__future__`: all of these annotations would have to be compiled when a node starts
import math
from typing import Annotated

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["RANGES", "ProtocolConfig"]


class ProtocolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the protocol. All times are in seconds.

    All nodes of a mesh should use the same values. A mesh with mixed values works, but detects failures less precisely.
    The defaults started from memberlist's values for a LAN. Raises :class:`ConfigError` if a value is out of range.
    """

    probe_interval: Annotated[float, (0.01, 3600)] = 1.0
    """The time between two probes by one node (SWIM §3: the protocol period). Too low costs packets; too high detects
    deaths late."""

    probe_timeout: Annotated[float, (0.001, 3600)] = 0.5
    """The maximum time for a direct ping before other nodes are asked. The actual timeout is ``3 x`` the peer's round
    trip, if known, between ``probe_timeout_min`` and this. Too low sends needless indirect probes; too high leaves no
    time for them."""

    probe_timeout_min: Annotated[float, (0.001, 3600)] = 0.2
    """The minimum time for a direct ping: a busy interpreter may need this long to answer. Chosen, not measured."""

    indirect_probes: Annotated[int, (0, 64)] = 3
    """How many other nodes ping a node that did not answer (SWIM §4.1). More tolerate more packet loss and cost more
    packets."""

    suspicion_multiplier: Annotated[float, (0.1, 1000)] = 4.0
    """If enough nodes confirm a suspicion, it lasts at least ``suspicion_multiplier x log10(nodes) x probe_interval``.
    Too low declares slow nodes dead; too high detects deaths late."""

    suspicion_confirmed_multiplier: Annotated[float, (0.1, 1000)] = 2.5
    """A suspicion confirmed by enough confirmers lasts ``suspicion_confirmed_multiplier x probe_interval``, however
    large the mesh is. Too low declares suspended nodes dead; too high detects deaths late. A suspended node is accused
    one period after a probe and declared dead this many periods later. So with the default it may be suspended for
    three periods and then has half a period to refute."""

    suspicion_max_multiplier: Annotated[float, (1, 1000)] = 6.0
    """A suspicion without confirmations lasts this many times as long (Lifeguard §IV-B)."""

    confirmers: Annotated[int, (0, 64)] = 4
    """How many nodes, chosen by a hash, check a suspect immediately and independently. With 0 the suspicion timeout
    is that of Lifeguard. Too low leaves a suspicion unconfirmed if some confirmers are dead too; too high costs
    packets."""

    watches: Annotated[int, (0, 8)] = 2
    """The number of successors, in the order of ids, to which a node keeps a watch connection; as many nodes watch it.
    With 0 only probes detect a crash. A verdict needs two; more help if several neighbours crash at once."""

    local_health_max: Annotated[int, (0, 64)] = 8
    """The maximum by which a node that finds itself slow extends its own timeouts (Lifeguard §IV-A)."""

    patience_max: Annotated[float, (1, 64)] = 2.0
    """The maximum factor for the timeouts of a node that reports that it is slow, or that refuted an accusation within
    the last minute. The factor is 1, plus a half for each point of the node's local health or each refutation. 1 treats
    all nodes alike. Too high detects deaths of slow nodes late."""

    gossip_interval: Annotated[float, (0.01, 3600)] = 0.2
    """The time between two rounds of gossip while there are items to send. The first round is at once."""

    gossip_fanout: Annotated[int, (1, 64)] = 3
    """How many nodes receive each round of gossip."""

    retransmit_margin: Annotated[float, (0.5, 64)] = 5.0
    """Each node sends a rumour ``ceil(ln(nodes) + retransmit_margin)`` times. Without packet loss, one rumour in ``e **
    retransmit_margin`` misses some node, in a mesh of any size. Too low leaves more to syncs; too high costs bytes."""

    birth_fanout: Annotated[int, (1, 1024)] = 16
    """How many nodes are told at once by the owner of a new record, or by a node that finds a death; each of them tells
    up to 15 others. Chosen, not measured."""

    packet_bytes_max: Annotated[int, (512, 1472)] = 1232
    """The largest UDP payload. Packets above the path's MTU less 28 (48 for IPv6) are fragmented or lost; 1,232 fits
    the smallest MTU of IPv6."""

    sync_grace: Annotated[float, (0, 3600)] = 1.0
    """How long two views may differ before the nodes sync, since gossip may be on its way."""

    look_delay: Annotated[float, (0.01, 3600)] = 0.2
    """How long after the last instance came or went a node asks another whether their views agree. Too low finds
    differences that gossip is about to repair; too high repairs a healed mesh late."""

    sync_bytes_max: Annotated[int, (64 * 1024, 960 * 1024)] = 512 * 1024
    """The largest half of a sync. Items that do not fit come with the next sync. A larger record is refused."""

    call_timeout: Annotated[float, (0.01, 600)] = 2.0
    """The timeout of a call to another node."""

    forward_timeout: Annotated[float, (0.01, 600)] = 1.0
    """How long a forwarded heartbeat waits for the instance's home before this node adopts the instance. Chosen, not
    measured."""

    dead_call_interval: Annotated[float, (0.01, 3600)] = 1.0
    """The average time between two calls to dead nodes by one node, if nearly all nodes are dead. If a tenth of all is
    dead, it is ten times as long. Just after a death it is a fifth of that. This is how nodes find out that a partition
    healed."""

    departed_retention: Annotated[float, (1, 1e9)] = 24 * 3600.0
    """How long dead nodes are called and departed instances remembered, in uptime of this node."""

    departed_max: Annotated[int, (1, 1_000_000)] = 10_000
    """How many departed instances are remembered. Above it the oldest are forgotten."""

    members_max: Annotated[int, (2, 65_536)] = 20_000
    """How many live instances are listed. Above it new ones are refused."""

    members_size_max: Annotated[int, (64 * 1024, 1 << 40)] = 16 * 1024 * 1024
    """The maximum size of the list of live instances, in characters. Above it new instances are refused, and no
    registration may grow. It bounds the cost of one answer. 20,000 instances of 800 characters fit. Chosen, not
    measured."""

    candidates_max: Annotated[int, (1, 1_000_000)] = 1024
    """How many addresses of possible peers are tried. Above it the address that failed most is dropped. If all have
    answered, a new address is refused."""

    dial_interval_min: Annotated[float, (0.001, 3600)] = 0.25
    """The time before an address that did not answer is retried. It doubles each time."""

    dial_interval_max: Annotated[float, (0.001, 86_400)] = 4.0
    """The maximum time between two attempts to reach one address."""

    settle_timeout: Annotated[float, (0, 3600)] = 1.0
    """How long a node waits before it names a leader, at its start and after a third of its view died at once. Too low
    names a leader that the next packet deposes; too high leaves the mesh without one. Chosen, not measured."""

    pause_threshold: Annotated[float, (0.01, 3600)] = 1.0
    """A timer that fires this late means that this process was suspended. Too low takes a busy moment for a pause; too
    high blames other nodes for this node's own silence."""

    quorum: Annotated[int, (0, 1_000_000)] = 0
    """A node leads only while this many nodes, itself included, grant it a lease of three probe intervals. In a mesh of
    at most ``2 * quorum - 1`` nodes with the same value, no two lead at the same moment. 0: no votes, and each side of
    a partition has a leader."""

    instance_timeout: Annotated[float, (0.1, 86_400)] = 15.0
    """A hosted instance without a heartbeat for this long is removed. After its home died, it can be adopted for this
    long."""

    status_interval: Annotated[float, (0, 3600)] = 1.0
    """The minimum time between two publications of one instance's record because its status changed."""

    metrics_interval: Annotated[float, (0, 3600)] = 5.0
    """The minimum time between two publications of one instance's record because only its metrics changed."""

    record_bytes_max: Annotated[int, (1024, 256 * 1024)] = 32 * 1024
    """The largest record, with its capabilities, profiles and metrics. A record that does not fit into a packet is sent
    by TCP."""

    metrics_bytes_max: Annotated[int, (2, 16 * 1024)] = 8 * 1024
    """The maximum size of an instance's metrics as JSON. They are sent to every node whenever they change."""

    leave_timeout: Annotated[float, (0, 60)] = 0.5
    """How long a leaving node waits for other nodes to confirm that they were told."""

    message_timeout: Annotated[float, (0.1, 1e9)] = 24 * 3600.0
    """How long a message is kept for a recipient that does not acknowledge it. Then its copy expires."""

    return_timeout: Annotated[float, (0, 1e9)] = 60.0
    """How long the messages for a node that left wait for its return before they become undeliverable. Too low loses
    messages sent during a restart. Chosen, not measured."""

    mailbox_messages_max: Annotated[int, (1, 10_000_000)] = 10_000
    """How many messages can wait for one recipient. Above it further ones are refused, or wait where they were
    accepted."""

    mailbox_bytes_max: Annotated[int, (1024, 1 << 40)] = 64 * 1024 * 1024
    """How many bytes of messages can wait for one recipient, plus 256 for each, unless a single message is larger."""

    remembered_max: Annotated[int, (1, 10_000_000)] = 50_000
    """How many acknowledged ids a mailbox remembers, so that these messages are not delivered again. One costs about
    150 bytes. Too low may deliver a very late duplicate again. Chosen, not measured."""

    outbox_copies_max: Annotated[int, (1, 10_000_000)] = 100_000
    """How many unacknowledged copies this node holds. Above it no message is accepted."""

    outbox_bytes_max: Annotated[int, (1024, 1 << 40)] = 256 * 1024 * 1024
    """How many bytes of messages this node holds, plus 256 for each. Above it no message is accepted."""

    receipts_max: Annotated[int, (0, 10_000_000)] = 10_000
    """For how many completed messages this node remembers the status."""

    delivery_bytes_max: Annotated[int, (1024, 1024 * 1024)] = 256 * 1024
    """How many bytes of messages one call carries, unless a single message is larger. Chosen, not measured."""

    delivery_interval_min: Annotated[float, (0.001, 3600)] = 0.1
    """The time before a failed delivery is retried; it doubles each time. A change of the recipient or its home
    triggers a retry at once."""

    delivery_interval_max: Annotated[float, (0.001, 3600)] = 5.0
    """The maximum time between two attempts to deliver."""

    accept_timeout: Annotated[float, (0, 60)] = 1.0
    """Without a data directory, how long the acceptance of a message waits until its recipients' homes have it, so that
    one of the two nodes may crash. Chosen, not measured."""

    confirm_timeout: Annotated[float, (0, 60)] = 1.0
    """How long an acknowledgement waits until the nodes that hold the message know of it, so that the recipient's home
    may crash. Chosen, not measured."""

    fetch_bytes_max: Annotated[int, (1024, 1024 * 1024)] = 1024 * 1024
    """How many bytes of messages one read of a mailbox returns, unless a single message is larger."""

    waits_max: Annotated[int, (0, 1_000_000)] = 1024
    """How many reads may wait for messages at the same time. Above it they are answered at once."""

    maps_max: Annotated[int, (0, 100_000)] = 64
    """How many shared maps this node may open."""

    map_entries_max: Annotated[int, (1, 10_000_000)] = 10_000
    """How many keys this node may write to one shared map, including deleted ones until they are forgotten. Entries of
    other nodes are accepted up to four times this, so that two full sides of a partition can merge."""

    map_bytes_max: Annotated[int, (1024, 1 << 40)] = 16 * 1024 * 1024
    """How many bytes of keys and values this node may write to one shared map, plus 64 for each. Entries of other nodes
    are accepted as for ``map_entries_max``."""

    map_value_bytes_max: Annotated[int, (2, 1024 * 1024)] = 64 * 1024
    """The largest value that this node may write to a shared map, as JSON."""

    map_sync_bytes_max: Annotated[int, (1024, 1024 * 1024)] = 256 * 1024
    """How many bytes of entries one call carries, unless a single entry is larger. Chosen, not measured."""

    map_deleted_retention: Annotated[float, (1, 1e9)] = 24 * 3600.0
    """How long a deleted key of a shared map is remembered. A node that was cut off for longer may bring the key
    back."""

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value, default = getattr(self, name), _DEFAULTS[name]
            kinds = int if isinstance(default, int) else (int, float)
            if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
                expected = "a whole number" if kinds is int else "a number"
                raise ConfigError(f"{name} = {value!r}: expected {expected} from {low} to {high}")
        if self.probe_timeout_min > self.probe_timeout or self.probe_timeout >= self.probe_interval:
            raise ConfigError(
                f"probe_timeout = {self.probe_timeout!r}: expected probe_timeout_min ({self.probe_timeout_min!r})"
                f" <= probe_timeout < probe_interval ({self.probe_interval!r})"
            )
        if self.record_bytes_max + self.metrics_bytes_max >= self.sync_bytes_max:
            raise ConfigError(
                f"sync_bytes_max = {self.sync_bytes_max!r}: expected more than record_bytes_max"
                f" ({self.record_bytes_max!r}) and metrics_bytes_max ({self.metrics_bytes_max!r}) together"
            )

    def retransmits(self, nodes: int) -> int:
        """Return how often each of ``nodes`` nodes sends a rumour (SWIM §4.1)."""
        return math.ceil(math.log(max(1, nodes)) + self.retransmit_margin)

    def delivery_pause(self, failures: int) -> float:
        """Return how long to wait, in seconds, before the next attempt after so many failures."""
        return min(self.delivery_interval_min * 2.0 ** min(failures, 16), self.delivery_interval_max)

    @property
    def confirmed_timeout(self) -> float:
        """How long a suspicion lasts that enough others confirmed, in seconds."""
        return self.suspicion_confirmed_multiplier * self.probe_interval

    def suspicion_timeout(self, nodes: int) -> float:
        """Return the shortest suspicion timeout among so many nodes, in seconds."""
        return self.suspicion_multiplier * max(1.0, math.log10(max(1, nodes))) * self.probe_interval


RANGES: dict[str, tuple[float, float]] = {
    name: hint.__metadata__[0] for name, hint in ProtocolConfig.__annotations__.items()
}
"""The least and the greatest value of each option."""

_DEFAULTS = dict(zip(ProtocolConfig.__struct_fields__, ProtocolConfig.__struct_defaults__, strict=True))
