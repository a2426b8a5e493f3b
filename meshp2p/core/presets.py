"""Presets: named sets of options for different networks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError

__all__ = ["PRESETS", "Choice", "Preset", "find_preset"]


class Choice(msgspec.Struct, frozen=True):
    """One value of a preset: its key as in a configuration file, the value, and the reason."""

    key: str
    value: Any
    why: str


class Preset(msgspec.Struct, frozen=True):
    """A preset: its name, its purpose, and the options that differ from the defaults."""

    name: str
    what: str
    choices: tuple[Choice, ...] = ()

    def protocol(self) -> ProtocolConfig:
        """Return the protocol configuration of this preset."""
        prefix = "protocol."
        values = {choice.key.removeprefix(prefix): choice.value for choice in self.choices}
        return ProtocolConfig(**{key: values[key] for key in ProtocolConfig.__struct_fields__ if key in values})


_LOCAL: Final = Preset(
    "local",
    "For nodes on one machine, in development and tests. A process that hangs for 2 s may be declared dead.",
    (
        Choice("host", "127.0.0.1", "no other machine reaches the node, even with `insecure_lan`"),
        Choice("protocol.probe_interval", 0.5, "detects a hanging process in half the time; packets cost little here"),
        Choice(
            "protocol.probe_timeout",
            0.25,
            "loopback takes far less than a millisecond; the rest is waiting for the CPU",
        ),
        Choice("protocol.probe_timeout_min", 0.15, "a busy interpreter may need this long to answer"),
        Choice("protocol.indirect_probes", 1, "no other path is better than loopback"),
        Choice("protocol.gossip_interval", 0.1, "news travels faster"),
        Choice("protocol.sync_grace", 0.5, "gossip has arrived by then"),
        Choice("protocol.settle_timeout", 0.5, "a node without peers serves after half the time"),
        Choice("protocol.dial_interval_min", 0.1, "finds a starting node sooner"),
        Choice("protocol.dial_interval_max", 1.0, "finds a returning node sooner"),
        Choice("protocol.dead_call_interval", 0.5, "finds a resumed process sooner"),
    ),
)

_WAN: Final = Preset(
    "wan",
    "For several networks: round trips of up to 400 ms, some packet loss, no multicast. Name seeds with `join`.",
    (
        Choice("mdns", False, "multicast does not leave a LAN"),
        Choice("protocol.probe_interval", 3.0, "tolerates a few lost packets in a row; fewer packets"),
        Choice("protocol.probe_timeout", 1.5, "three round trips of 400 ms, and a margin"),
        Choice("protocol.probe_timeout_min", 0.5, "a round trip varies more than on a LAN"),
        Choice("protocol.suspicion_multiplier", 6.0, "18 s to refute, even while routes change"),
        Choice(
            "protocol.suspicion_confirmed_multiplier",
            6.0,
            "the same with confirmations: the confirmers may use the same route",
        ),
        Choice("protocol.gossip_interval", 0.5, "about a round trip, so items arrive before they are sent again"),
        Choice("protocol.gossip_fanout", 4, "reaches all nodes as fast despite the slower rounds"),
        Choice(
            "protocol.packet_bytes_max", 1200, "fits IPv6's smallest MTU (1,280), so tunnels and VPNs do not fragment"
        ),
        Choice("protocol.sync_grace", 3.0, "gossip needs several of the slower rounds"),
        Choice("protocol.call_timeout", 10.0, "three round trips to connect and ask, and TCP's first two retries"),
        Choice("protocol.forward_timeout", 3.0, "the home may be far away, not gone"),
        Choice("protocol.settle_timeout", 3.0, "connecting to a seed and syncing takes a few round trips"),
        Choice("protocol.dial_interval_min", 1.0, "two round trips: an answer may be on its way"),
        Choice("protocol.dial_interval_max", 30.0, "keeps the cost of dead addresses low"),
        Choice("protocol.dead_call_interval", 3.0, "the same as the probe interval"),
        Choice("protocol.instance_timeout", 30.0, "a forwarded heartbeat may be lost more than once"),
        Choice("protocol.status_interval", 3.0, "fewer packets"),
        Choice("protocol.metrics_interval", 15.0, "fewer packets"),
        Choice("protocol.leave_timeout", 2.0, "other nodes confirm after a few round trips"),
        Choice("protocol.delivery_interval_min", 0.5, "more than a round trip"),
        Choice("protocol.delivery_interval_max", 15.0, "links fail for longer"),
        Choice("protocol.accept_timeout", 3.0, "the recipient's home is a few round trips away"),
        Choice("protocol.confirm_timeout", 3.0, "so is the holder of the message"),
    ),
)

PRESETS: Final = (
    Preset(
        "lan", "The defaults, for machines on one LAN: round trips of a few milliseconds, and multicast usually works."
    ),
    _LOCAL,
    _WAN,
)


def find_preset(name: object) -> Preset:
    """Return the preset with that name. Raises :class:`~meshp2p.errors.ConfigError` if there is none."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    allowed = ", ".join(repr(preset.name) for preset in PRESETS)
    raise ConfigError(f"preset = {name!r}: expected one of {allowed}")
