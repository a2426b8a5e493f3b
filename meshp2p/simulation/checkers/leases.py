"""Under a quorum, no two nodes say at the same time that they lead."""

from __future__ import annotations

from meshp2p.core.events import Event, LeadershipChanged
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["OneLeader"]


class OneLeader(Checker):
    """In a mesh of at most ``2N - 1`` processes with ``quorum=N``, no two name themselves as the leader at the same
    moment.

    If two did, one would begin while the other does, so it is enough to check when a node begins. A suspended process
    says nothing, and reads its clock before it does again. It is checked as well.
    """

    name = "one-leader"
    watches: tuple[type, ...] = (LeadershipChanged,)

    def event(self, host: Host, event: Event) -> None:
        quorum = self.oracle.config.quorum
        if not quorum or len(self.oracle.hosts) > 2 * quorum - 1 or not _says_so(host):
            return
        others = [other.key for other in self.oracle.hosts.values() if other is not host and _says_so(other)]
        if others:
            self.violated(host, f"says that it leads, and so does {', '.join(others)}")


def _says_so(host: Host) -> bool:
    return host.machine is not None and host.machine.leader_id == host.machine.id
