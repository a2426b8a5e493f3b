"""The state of a machine, for reading at any time."""

from __future__ import annotations

from collections.abc import Iterator

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.counters import Counters
from meshp2p.core.directory.relay_selector import CallRoute, RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.instance import ListedInstance
from meshp2p.core.mail.machine import Mail
from meshp2p.core.mail.mailboxes import Mailboxes
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.maps.replicated_map import ReplicatedMap
from meshp2p.core.maps.shared_maps import Maps
from meshp2p.core.record import Departed, Record
from meshp2p.core.swim.candidates import Candidate, SourceStats
from meshp2p.core.swim.machine import Swim

__all__ = ["View"]


class View:
    """The reading side of a :class:`~meshp2p.core.machine.Machine`: nothing here changes anything."""

    _state: NodeState
    _swim: Swim
    _maps: Maps
    _relay_selector: RelaySelector
    _mail: Mail

    def __repr__(self) -> str:
        members = self._state.members
        return (
            f"<Machine {self._state.id} inc={self._state.own.incarnation} nodes={len(members.nodes)}"
            f" instances={len(members)} departed={len(members.departed)} leader={self.leader_id}"
            f" epoch={self.leader_epoch} view={members.view:016x}>"
        )

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def own(self) -> Record:
        """This node's own record, as published last."""
        return self._state.own

    @property
    def config(self) -> ProtocolConfig:
        return self._state.config

    @property
    def counters(self) -> Counters:
        return self._state.counters

    @property
    def mailboxes(self) -> Mailboxes:
        """The mailboxes of this node, for reading."""
        return self._mail.mailboxes

    @property
    def outbox(self) -> Outbox:
        """The messages that this node holds, for reading."""
        return self._mail.outbox

    def departed(self) -> Iterator[Departed]:
        """Return the members that are remembered as dead or left."""
        return iter(self._state.members.departed.values())

    def replica(self, name: str) -> ReplicatedMap | None:
        """Return the shared map with this name, for reading; None if it was not opened."""
        return self._maps.replica(name)

    def has_mail(self, recipient: str, message_id: str) -> bool:
        """Return whether this message waits in the recipient's mailbox at this node."""
        return self._mail.mailboxes.is_pending((recipient, message_id))

    def claim_of(self, instance_id: str) -> Record | Departed | None:
        """Return what is held about this id: its record, or that it departed; None if it is unknown."""
        return self._state.members.claim_of(instance_id)

    def id_of(self, tag: int) -> str | None:
        """Return the listed or departed id with this tag, or None if it is unknown."""
        return self._state.members.id_of(tag)

    def has_node(self, node_id: str) -> bool:
        """Return whether this is a listed node."""
        return self._state.members.has_node(node_id)

    def routes(self, node_id: str, now: float) -> list[CallRoute]:
        """Return the routes to a node, the preferred one first; empty if it is not listed."""
        return self._relay_selector.routes(node_id, now)

    def first_route(self, node_id: str, now: float) -> CallRoute | None:
        """Return the first of :meth:`routes`; None if the node is not listed."""
        return self._relay_selector.first_route(node_id, now)

    def relay_route(self, node_id: str) -> CallRoute | None:
        """Return the direct route to a listed node, for a call that this node passes on; None if it must not.

        Calls that waited in the sockets while this process was suspended are too old to be passed on.
        """
        record = self._state.members.records.get(node_id)
        if record is None or not record.is_node or self._state.is_guarded or node_id == self._state.id:
            return None
        return CallRoute(record.id, record.boot, self._state.addresses_of(record))

    @property
    def unreachable(self) -> dict[str, str]:
        """The live nodes without a path to them, and how the last call failed."""
        return self._relay_selector.unreachable

    @property
    def detours(self) -> dict[str, str]:
        """The nodes that are called through a relay, and the relay of each."""
        return self._relay_selector.detours

    @property
    def round_trips(self) -> dict[str, float]:
        """The average round trip to the nodes whose last probe was answered at once, in seconds, for reading."""
        return self._swim.prober.round_trips

    @property
    def indirect(self) -> list[str]:
        """The nodes whose last probe was answered only over others or TCP."""
        return list(self._swim.prober.indirect)

    @property
    def watched(self) -> list[str]:
        """The nodes that this one watches by an established connection."""
        return self._swim.watches.watched

    @property
    def leader_id(self) -> str | None:
        return self._swim.election.leader_id

    @property
    def is_leading(self) -> bool:
        """Whether this node itself leads now. May be read from any thread."""
        return self._swim.election.is_leading

    @property
    def leader_epoch(self) -> int:
        return self._swim.election.epoch

    @property
    def is_settled(self) -> bool:
        """Whether the settle window is over, so that this node may name a leader."""
        return self._state.is_settled and self._state.is_announced

    @property
    def is_announced(self) -> bool:
        """Whether this node announced itself, because no node that it met knows another owner of its id."""
        return self._state.is_announced

    @property
    def has_lost_id(self) -> bool:
        return self._swim.ownership.has_lost_id

    @property
    def has_left(self) -> bool:
        """Whether this node leaves and enough others confirmed that they were told."""
        is_busy = self._swim.is_telling or self._mail.handover.is_handing_over or self._maps.is_telling
        return self._state.is_leaving and not is_busy

    @property
    def storage_failure(self) -> str | None:
        """Why the disk stores nothing now; None if it works."""
        return self._state.keeping.failure

    @property
    def hears_nobody(self) -> bool:
        """Whether this node lists others, hears none of them, and is checking them."""
        return self._swim.election.hears_nobody

    @property
    def is_guarded(self) -> bool:
        """Whether this process was suspended and has heard no other node since."""
        return self._state.is_guarded

    @property
    def local_health(self) -> int:
        return self._state.local_health.score

    @property
    def view(self) -> int:
        """The hash of all live records: equal if two nodes agree."""
        return self._state.members.view

    @property
    def listed_version(self) -> tuple[int, str | None]:
        """Differs whenever what :meth:`instances` lists has changed, but for the times of the last heartbeats."""
        return self._state.members.changes + self._swim.hosting.reports, self.leader_id

    def records(self) -> dict[str, Record]:
        """Return the live records by id, in no order: a view that changes with the machine, not to be changed."""
        return self._state.members.records

    def node_count(self) -> int:
        return len(self._state.members.nodes)

    def candidates(self) -> Iterator[Candidate]:
        return iter(self._swim.syncer.candidates)

    def sources(self) -> dict[str, SourceStats]:
        """Statistics of each source of discovery."""
        return self._swim.syncer.candidates.statistics()

    def instance(self, instance_id: str, now: float) -> ListedInstance | None:
        """Return a live instance as this node knows it; None if there is none. May be called from any thread."""
        record = self._swim.hosting.present(instance_id)
        return None if record is None else self.show(record, now)

    def instances(self, now: float) -> list[ListedInstance]:
        """Return all live instances, ordered by the bytes of their ids.

        May be asked from any thread: records are immutable, and the dictionary of them is copied in one step.
        """
        present = self._swim.hosting.present
        return [
            self.show(present(instance_id) or record, now)
            for instance_id, record in sorted(self._state.members.records.copy().items(), key=_by_id_bytes)
        ]

    def leader(self, now: float) -> ListedInstance | None:
        """Return the leader; None if there is none. May be called from any thread."""
        record = self._state.members.records.get(self.leader_id or "")
        shown = None if record is None else self.show(record, now)
        return shown if shown is not None and shown.is_leader else None  # another thread may have deposed it meanwhile

    def last_heartbeat(self, instance_id: str, now: float, heard: float | None = None) -> int:
        """Return when a live instance was last heard, or ``heard``, in Unix milliseconds."""
        state = self._state
        heard = state.life[instance_id] if heard is None else heard
        return state.unix_ms_at(now if instance_id == state.id or heard is None else min(now, heard), now)

    def show(self, record: Record, now: float, heard: float | None = None) -> ListedInstance:
        """Return an instance of which this is the record. ``heard`` is its last sign of life if it is no longer
        listed."""
        state = self._state
        is_leader = record.id == self.leader_id
        epoch = self.leader_epoch if is_leader else 0
        return ListedInstance(
            id=record.id,
            hostname=record.hostname,
            port=record.port,
            capabilities=record.capabilities,
            profiles=record.profiles,
            state=record.state,
            home=record.home,
            addresses=state.addresses_of(record),
            incarnation=record.incarnation,
            is_leader=is_leader,
            status=record.status,
            metrics=record.metrics,
            created_at=record.created_at,
            last_heartbeat=self.last_heartbeat(record.id, now, heard),
            epoch=epoch,
            led_since=record.epoch_since if epoch else None,
        )


def _by_id_bytes(entry: tuple[str, Record]) -> bytes:
    return entry[0].encode()
