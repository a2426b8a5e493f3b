"""A mesh that is asked as agents ask it."""

from __future__ import annotations

from meshp2p.core.calls import DeregisterReply, HeartbeatReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.requests import Deregister, Heartbeat
from meshp2p.core.swim.hosting import Profile
from tests.core.mesh import Mesh

X = Profile("x", "x.example", 1, ("search",), ("fast",))


class Registry(Mesh):
    """A mesh whose nodes n0, n1, ... are asked as agents ask them."""

    def __init__(self, count: int = 4, config: ProtocolConfig | None = None) -> None:
        super().__init__(config=config)
        self._tickets = 0
        for number in range(count):
            self.add(f"n{number}", join="n0" if number else None)
        self.run_until(self.is_whole, within=3)
        self.run(3)

    def register(self, key: str, profile: Profile = X) -> None:
        self.do(key, self.nodes[key].register(profile, self.now))
        self.run(0.5)

    def heartbeat(self, key: str, instance_id: str = "x", status: str = "", metrics: str = "") -> HeartbeatReply:
        reply = self._ask(key, Heartbeat(instance_id, status, metrics))
        assert isinstance(reply, HeartbeatReply)
        return reply

    def deregister(self, key: str, instance_id: str = "x") -> bool:
        reply = self._ask(key, Deregister(instance_id))
        assert isinstance(reply, DeregisterReply)
        return reply.was_found

    def _ask(self, key: str, request: Heartbeat | Deregister) -> object:
        self._tickets += 1
        self.do(key, self.nodes[key].request(self._tickets, request, self.now))
        self.run_until(lambda: self._tickets in self.resolved, within=5)
        return self.resolved[self._tickets]

    def homes(self, instance_id: str = "x") -> set[str | None]:
        """Which home each node knows; None where it does not list the instance."""
        held = [machine.records().get(instance_id) for machine in self.nodes.values()]
        return {None if record is None else record.home for record in held}
