"""Every number of the protocol, with what it does and how to choose it."""

from __future__ import annotations

import math

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["ProtocolConfig"]


class ProtocolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The protocol's numbers. All times are seconds. All nodes of a mesh should share them; a mesh of mixed values
    works, less sharply.

    The starting point is memberlist's values for a LAN. Raises :class:`ConfigError` on a value out of range.
    """

    probe_interval: float = 1.0
    """Between two probes by one node (SWIM §3: the protocol period). Too low costs packets, too high finds deaths
    late."""

    probe_timeout: float = 0.5
    """How long a direct ping may take before others are asked. It is ``3 x`` the peer's round trip where that is known,
    but between ``probe_timeout_min`` and this. Too low asks others for nothing, too high leaves them no time."""

    probe_timeout_min: float = 0.2
    """The floor of that: what a busy interpreter may need to answer. Chosen, not measured."""

    indirect_probes: int = 3
    """How many others ping a node that did not answer (SWIM §4.1). More hide more loss and cost more packets."""

    suspicion_multiplier: float = 4.0
    """A suspicion lasts at least ``suspicion_multiplier x log10(nodes) x probe_interval``, if enough others confirm it.
    Too low declares dead who was slow to answer, too high finds deaths late."""

    suspicion_confirmed_multiplier: float = 2.5
    """A suspicion that enough of the confirmers confirm lasts ``suspicion_confirmed_multiplier x probe_interval``,
    however large the mesh is. Too low declares dead who paused, too high finds deaths late: who stands still is accused
    one period after a probe and held dead so many after that, so it may stand still for three periods and has half of
    one to say that it lives."""

    suspicion_max_multiplier: float = 6.0
    """A suspicion that nobody confirms lasts this many times as long (Lifeguard §IV-B)."""

    confirmers: int = 4
    """How many nodes, drawn by a hash, check a suspect at once and by themselves. 0: none, and a suspicion is as long
    as Lifeguard says. Too low leaves one unconfirmed where some of them are lost too, too high costs packets."""

    watches: int = 2
    """How many successors in the order of ids a node keeps a watch connection to; as many others watch it. 0: none,
    and a crash is found by probing alone. A verdict needs two; more help where several neighbours crash at once."""

    watch_settle: float = 0.5
    """How long after a change of the mesh a node looks whom to watch now. Too low opens connections in a storm of
    joins that the next join closes, too high leaves a newcomer unwatched. Chosen, not measured."""

    crash_grace: float = 0.02
    """How long a node whose watch connection broke, and where nobody listens any more, may still answer a ping. Too low
    declares dead whom a firewall began to reject, too high finds crashes late. It is at least twice the time that the
    refusal took. Chosen, not measured."""

    local_health_max: int = 8
    """By how much a node that finds itself slow stretches its own timeouts, at most (Lifeguard §IV-A)."""

    patience_max: float = 2.0
    """How many times as long a node is waited for, and suspected, that says it is slow itself, or was accused within a
    minute and lived: once, and half as long again for each point of its local health, or each such time, up to this.
    1: as all others. Too high finds the deaths of slow nodes late."""

    gossip_interval: float = 0.2
    """Between two rounds of gossip while there is something to tell; the first round is at once."""

    gossip_fanout: int = 3
    """How many nodes a round tells."""

    retransmit_margin: float = 5.0
    """A rumour is told ``ceil(ln(nodes) + retransmit_margin)`` times by each node. Where no packet is lost one rumour
    in ``e ** retransmit_margin`` misses somebody, in a mesh of any size. Too low leaves more to the next comparison of
    views, too high costs bytes."""

    birth_fanout: int = 16
    """How many nodes the owner of a new record, or who finds a death, tells at once. Chosen, not measured."""

    packet_bytes_max: int = 1232
    """The largest UDP payload. Above the path's MTU less 28 (48 for IPv6) packets are fragmented or lost; 1,232 fits
    into IPv6's least MTU."""

    ages_per_packet: int = 3
    """How many signs of life of others ride on each packet."""

    sync_grace: float = 1.0
    """How long two views may differ before they are compared: gossip may be on its way."""

    look_delay: float = 0.2
    """How long after the last instance came or went a node asks another whether they agree. Too low finds differences
    that gossip is about to mend, too high lets a healed mesh wait for what gossip left out."""

    sync_bytes_max: int = 512 * 1024
    """The most that one half of a sync carries. What does not fit comes with the next. A record of more is refused."""

    call_timeout: float = 2.0
    """How long a call to another node may take."""

    forward_timeout: float = 1.0
    """How long a heartbeat that is forwarded waits for the instance's home before this node adopts the instance.
    Chosen, not measured."""

    dead_call_interval: float = 1.0
    """Between two calls of dead nodes by one node, each made with a probability of dead / all. So a healed partition is
    found."""

    departed_retention: float = 24 * 3600.0
    """How long the dead are called and the departed remembered, of this node's own uptime."""

    departed_max: int = 10_000
    """How many departed are remembered; past it the oldest are forgotten."""

    members_max: int = 20_000
    """How many live instances are listed; past it newcomers are not taken."""

    members_size_max: int = 16 * 1024 * 1024
    """How many characters the list of live instances has; past it newcomers are not taken, and no registration may
    grow. It bounds what one answer costs. 20,000 instances of 800 characters fit. Chosen, not measured."""

    candidates_max: int = 1024
    """How many addresses of possible peers are tried; past it the one that failed most makes room, and where all have
    answered a newly found one is not taken."""

    dial_interval_min: float = 0.25
    """Before an address that did not answer is tried again; doubled each time."""

    dial_interval_max: float = 4.0
    """The longest pause between two tries of one address."""

    settle_timeout: float = 1.0
    """How long a node looks around before it names a leader: at its start, and when a third of its view went at once.
    Too low names a leader that the next packet deposes, too high leaves the mesh without one. Chosen, not measured."""

    pause_threshold: float = 1.0
    """A deadline that is handled so late says that this node itself was stopped. Too low takes a busy moment for a
    pause, too high accuses others of this node's own silence."""

    lag_threshold: float = 0.1
    """A deadline that is handled so late says that this node is slow, and counts into its local health. Chosen, not
    measured."""

    quorum: int = 0
    """A node leads only while so many nodes, itself included, grant it a lease of three probe intervals. In a mesh of
    at most ``2 * quorum - 1`` nodes with the same value no two lead at the same moment. 0: no votes, and each side of
    a partition has a leader."""

    instance_timeout: float = 15.0
    """Without a heartbeat for so long a hosted instance is removed; when its home is gone, so long it may be
    adopted."""

    status_interval: float = 1.0
    """Between two publications of one instance's record because its status changed."""

    metrics_interval: float = 5.0
    """Between two publications of one instance's record because only its metrics changed."""

    record_bytes_max: int = 32 * 1024
    """The largest record, with its capabilities, profiles and metrics. What does not fit into a packet travels by
    TCP."""

    metrics_bytes_max: int = 8 * 1024
    """The most that an instance's metrics may have, as JSON. They are told to every node whenever they change."""

    leave_timeout: float = 0.5
    """How long a leaving node waits for others to confirm that they heard."""

    message_timeout: float = 24 * 3600.0
    """How long a message is kept for a recipient that does not acknowledge it; then its copy has expired."""

    return_timeout: float = 60.0
    """How long the messages of a node that left of its own will wait for its return before they are undeliverable. Too
    low loses what was sent during a restart. Chosen, not measured."""

    mailbox_messages_max: int = 10_000
    """How many messages wait for one recipient; past it further ones are refused, or wait where they were accepted."""

    mailbox_bytes_max: int = 64 * 1024 * 1024
    """How many bytes of messages wait for one recipient, 256 added for each, unless one message alone has more."""

    remembered_max: int = 50_000
    """How many acknowledged ids a mailbox remembers, so that they are not handed out again. One costs about 150 bytes;
    too low may hand out again what arrives very late by a detour. Chosen, not measured."""

    outbox_copies_max: int = 100_000
    """How many copies this node holds that are not acknowledged; past it no message is accepted."""

    outbox_bytes_max: int = 256 * 1024 * 1024
    """How many bytes of messages this node holds, 256 added for each; past it none is accepted."""

    receipts_max: int = 10_000
    """Of how many messages whose copies are all final it is remembered what became of them."""

    delivery_bytes_max: int = 256 * 1024
    """How many bytes of messages one call carries, unless one message alone has more. Chosen, not measured."""

    delivery_interval_min: float = 0.1
    """Before what could not be delivered is tried again; doubled each time. What happens to the recipient or its home
    is not waited for."""

    delivery_interval_max: float = 5.0
    """The longest pause between two tries."""

    accept_timeout: float = 1.0
    """Without a data directory, how long the acceptance of a message waits until its recipients' homes have it, so that
    one of the two ends may die. Chosen, not measured."""

    confirm_timeout: float = 1.0
    """How long an acknowledgement waits until the nodes that hold the message know, so that the recipient's home may
    die. Chosen, not measured."""

    fetch_bytes_max: int = 1024 * 1024
    """How many bytes of messages one read of a mailbox gives, unless one message alone has more."""

    waits_max: int = 1024
    """How many reads wait for messages at a time; past it they are answered at once."""

    maps_max: int = 64
    """How many shared maps this node opens."""

    map_entries_max: int = 10_000
    """How many keys of one shared map this node writes, deleted ones among them until they are forgotten. What others
    wrote is taken up to four times that, so that two sides of a partition may both be full."""

    map_bytes_max: int = 16 * 1024 * 1024
    """How many bytes of keys and values of one shared map this node writes, 64 added for each, taken like
    ``map_entries_max``."""

    map_value_bytes_max: int = 64 * 1024
    """The largest value that this node writes into a shared map, as JSON."""

    map_sync_interval: float = 5.0
    """Between two comparisons of a shared map with another node that has it. A change is told at once; this mends what
    was lost. Chosen, not measured."""

    map_sync_bytes_max: int = 256 * 1024
    """How many bytes of entries one call carries, unless one entry alone has more. Chosen, not measured."""

    map_fanout: int = 3
    """How many nodes that have a shared map are told of a change at once, by each that hears of it."""

    map_deleted_retention: float = 24 * 3600.0
    """How long it is remembered that a key of a shared map was deleted. A node that was cut off for longer may bring
    the key back."""

    map_clock_error_max: float = 60.0
    """How far a node's clock may be off the median of the clocks of those that have shared maps; past it the median is
    taken in its place. Too low takes clocks that are in order for wrong ones, too high lets a wrong one win for that
    long. Chosen, not measured."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
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
        """How often a rumour is told by each of so many nodes (SWIM §4.1)."""
        return math.ceil(math.log(max(1, nodes)) + self.retransmit_margin)

    def delivery_pause(self, failures: int) -> float:
        """How long to wait, in seconds, before what failed so often is tried again."""
        return min(self.delivery_interval_min * 2.0 ** min(failures, 16), self.delivery_interval_max)

    def suspicion_timeout(self, nodes: int) -> float:
        """The shortest suspicion among so many nodes, in seconds."""
        return self.suspicion_multiplier * max(1.0, math.log10(max(1, nodes))) * self.probe_interval


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("probe_interval", 0.01, 3600),
    ("probe_timeout", 0.001, 3600),
    ("probe_timeout_min", 0.001, 3600),
    ("indirect_probes", 0, 64),
    ("suspicion_multiplier", 0.1, 1000),
    ("suspicion_confirmed_multiplier", 0.1, 1000),
    ("suspicion_max_multiplier", 1, 1000),
    ("confirmers", 0, 64),
    ("watches", 0, 8),
    ("watch_settle", 0, 3600),
    ("crash_grace", 0, 3600),
    ("local_health_max", 0, 64),
    ("patience_max", 1, 64),
    ("gossip_interval", 0.01, 3600),
    ("gossip_fanout", 1, 64),
    ("retransmit_margin", 0.5, 64),
    ("birth_fanout", 1, 1024),
    ("packet_bytes_max", 512, 1472),
    ("ages_per_packet", 0, 32),
    ("sync_grace", 0, 3600),
    ("look_delay", 0.01, 3600),
    ("sync_bytes_max", 64 * 1024, 960 * 1024),
    ("call_timeout", 0.01, 600),
    ("forward_timeout", 0.01, 600),
    ("dead_call_interval", 0.01, 3600),
    ("departed_retention", 1, 1e9),
    ("departed_max", 1, 1_000_000),
    ("members_max", 2, 65_536),
    ("members_size_max", 64 * 1024, 1 << 40),
    ("candidates_max", 1, 1_000_000),
    ("dial_interval_min", 0.001, 3600),
    ("dial_interval_max", 0.001, 86_400),
    ("settle_timeout", 0, 3600),
    ("pause_threshold", 0.01, 3600),
    ("lag_threshold", 0.001, 3600),
    ("quorum", 0, 1_000_000),
    ("instance_timeout", 0.1, 86_400),
    ("status_interval", 0, 3600),
    ("metrics_interval", 0, 3600),
    ("record_bytes_max", 1024, 256 * 1024),
    ("metrics_bytes_max", 2, 16 * 1024),
    ("leave_timeout", 0, 60),
    ("message_timeout", 0.1, 1e9),
    ("return_timeout", 0, 1e9),
    ("mailbox_messages_max", 1, 10_000_000),
    ("mailbox_bytes_max", 1024, 1 << 40),
    ("remembered_max", 1, 10_000_000),
    ("outbox_copies_max", 1, 10_000_000),
    ("outbox_bytes_max", 1024, 1 << 40),
    ("receipts_max", 0, 10_000_000),
    ("delivery_bytes_max", 1024, 1024 * 1024),
    ("delivery_interval_min", 0.001, 3600),
    ("delivery_interval_max", 0.001, 3600),
    ("accept_timeout", 0, 60),
    ("confirm_timeout", 0, 60),
    ("fetch_bytes_max", 1024, 1024 * 1024),
    ("waits_max", 0, 1_000_000),
    ("maps_max", 0, 100_000),
    ("map_entries_max", 1, 10_000_000),
    ("map_bytes_max", 1024, 1 << 40),
    ("map_value_bytes_max", 2, 1024 * 1024),
    ("map_sync_interval", 0.01, 3600),
    ("map_sync_bytes_max", 1024, 1024 * 1024),
    ("map_fanout", 1, 64),
    ("map_deleted_retention", 1, 1e9),
    ("map_clock_error_max", 0.1, 1e9),
)

_DEFAULTS = dict(zip(ProtocolConfig.__struct_fields__, ProtocolConfig.__struct_defaults__, strict=True))
