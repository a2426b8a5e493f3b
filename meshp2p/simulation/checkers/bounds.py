"""Tables, packets and the traffic of an idle mesh have bounds."""

from __future__ import annotations

from meshp2p.simulation.checkers.base import Checker

__all__ = ["Bounds"]


class Bounds(Checker):
    """No table and no packet is larger than the configuration allows."""

    name = "bounds"

    def tick(self) -> None:
        oracle = self.oracle
        config = oracle.config
        for host in oracle.live:
            listed = len(host.listed)
            candidates = len(list(host.running.candidates()))
            if listed > config.members_max:
                self.violated(host, f"lists {listed} instances, at most {config.members_max} are allowed")
            if candidates > config.candidates_max:
                self.violated(host, f"has {candidates} candidates, at most {config.candidates_max} are allowed")
        largest = oracle.network.traffic.packet_bytes_max
        if largest > config.packet_bytes_max:
            self.violated(None, f"a packet of {largest} bytes was sent, at most {config.packet_bytes_max} are allowed")
            oracle.network.traffic.packet_bytes_max = 0

    def finish(self) -> None:
        self.tick()
