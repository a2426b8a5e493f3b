"""Presets: a whole set of values under one name, for where a mesh runs."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError

__all__ = ["PRESETS", "Choice", "Preset", "find_preset"]


class Choice(msgspec.Struct, frozen=True):
    """One value of a preset: its key, as a configuration file writes it, and why it is so."""

    key: str
    value: Any
    why: str


class Preset(msgspec.Struct, frozen=True):
    """What it is for, and where it differs from the defaults."""

    name: str
    what: str
    choices: tuple[Choice, ...] = ()

    def protocol(self) -> ProtocolConfig:
        """The protocol's configuration with it."""
        prefix = "protocol."
        values = {choice.key.removeprefix(prefix): choice.value for choice in self.choices}
        return ProtocolConfig(**{key: values[key] for key in ProtocolConfig.__struct_fields__ if key in values})


_LOCAL: Final = Preset(
    "local",
    "All nodes on one machine: development, tests with real processes. Who hangs for 2 s may be taken for dead.",
    (
        Choice("host", "127.0.0.1", "nobody else reaches the node, whatever `insecure_lan` says"),
        Choice("protocol.probe_interval", 0.5, "half the time to find who hangs; packets cost nothing here"),
        Choice("protocol.probe_timeout", 0.25, "loopback takes far below a millisecond: what it waits for is the CPU"),
        Choice("protocol.probe_timeout_min", 0.15, "what a busy interpreter may need to answer"),
        Choice("protocol.indirect_probes", 1, "no other path is better than loopback"),
        Choice("protocol.gossip_interval", 0.1, "news travel sooner"),
        Choice("protocol.sync_grace", 0.5, "gossip has arrived by then"),
        Choice("protocol.settle_timeout", 0.5, "a node that is alone serves after half the time"),
        Choice("protocol.dial_interval_min", 0.1, "a node that just starts is met sooner"),
        Choice("protocol.dial_interval_max", 1.0, "one that comes back is met sooner"),
        Choice("protocol.dead_call_interval", 0.5, "a process that was stopped and goes on is found sooner"),
    ),
)

_WAN: Final = Preset(
    "wan",
    "Nodes in several networks: round trips of up to 400 ms, some loss, no multicast. Name seeds with `join`.",
    (
        Choice("mdns", False, "multicast does not leave a LAN"),
        Choice("protocol.probe_interval", 3.0, "a few lost packets in a row are no death; fewer packets"),
        Choice("protocol.probe_timeout", 1.5, "three round trips of 400 ms, and some"),
        Choice("protocol.probe_timeout_min", 0.5, "a round trip varies more than on a LAN"),
        Choice("protocol.suspicion_multiplier", 6.0, "18 s to refute, through a route that changes"),
        Choice(
            "protocol.suspicion_confirmed_multiplier", 6.0, "the same, where others confirm: they may share the route"
        ),
        Choice("protocol.gossip_interval", 0.5, "a round trip: what was told is known before it is told again"),
        Choice("protocol.gossip_fanout", 4, "as fast to all at the slower pace"),
        Choice("protocol.packet_bytes_max", 1200, "fits IPv6's least MTU (1,280), so tunnels and VPNs do not fragment"),
        Choice("protocol.sync_grace", 3.0, "gossip needs some of the slower rounds"),
        Choice("protocol.call_timeout", 10.0, "three round trips to connect and ask, and TCP's first two retries"),
        Choice("protocol.forward_timeout", 3.0, "a heartbeat's home is far, not gone"),
        Choice("protocol.settle_timeout", 3.0, "to meet a seed and sync takes a few round trips"),
        Choice("protocol.dial_interval_min", 1.0, "two round trips: an answer may be on its way"),
        Choice("protocol.dial_interval_max", 30.0, "addresses that are gone cost little"),
        Choice("protocol.dead_call_interval", 3.0, "as the probes"),
        Choice("protocol.instance_timeout", 30.0, "a heartbeat that is forwarded may be lost more than once"),
        Choice("protocol.status_interval", 3.0, "fewer packets"),
        Choice("protocol.metrics_interval", 15.0, "fewer packets"),
        Choice("protocol.leave_timeout", 2.0, "others confirm after a few round trips"),
        Choice("protocol.delivery_interval_min", 0.5, "more than a round trip"),
        Choice("protocol.delivery_interval_max", 15.0, "links are gone for longer"),
        Choice("protocol.accept_timeout", 3.0, "the recipient's home is a few round trips away"),
        Choice("protocol.confirm_timeout", 3.0, "so is who holds the message"),
    ),
)

PRESETS: Final = (
    Preset("lan", "The defaults: machines of one LAN, round trips of a few milliseconds, multicast mostly works."),
    _LOCAL,
    _WAN,
)


def find_preset(name: object) -> Preset:
    """The preset of that name. Raises :class:`~meshp2p.errors.ConfigError`."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    allowed = ", ".join(repr(preset.name) for preset in PRESETS)
    raise ConfigError(f"preset = {name!r}: expected one of {allowed}")
