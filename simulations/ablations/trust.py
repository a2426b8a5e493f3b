"""Changes to the security of a process that was just made: each takes one safeguard of a secured mesh away."""

from __future__ import annotations

from typing import Any

import msgspec

from meshp2p.errors import check
from meshp2p.simulation.host import Host

__all__ = [
    "accept_old_processes",
    "admit_anybody",
    "compare_no_maps",
    "forget_revocations",
    "renew_without_notice",
    "retire_at_once",
    "verify_nothing",
    "without_renewal",
    "without_replay_window",
    "without_trust_updates",
]


def _security(host: Host) -> Any:
    check(host.security is not None, "the mesh is not secured")
    return host.security


def _nothing(*_arguments: Any) -> None:
    return None


def without_replay_window(host: Host) -> None:
    """Let no datagram count as received before."""
    datagrams = _security(host).guard._datagrams
    find = datagrams._find_incoming

    class Blind:
        def has_seen(self, _counter: int) -> bool:
            return False

        def note(self, _counter: int) -> None: ...

    def find_blind(*arguments: Any) -> Any:
        route = find(*arguments)
        route.pair.window = Blind()
        return route

    datagrams._find_incoming = find_blind


def verify_nothing(host: Host) -> None:
    """Let every claim count as signed by its author."""
    verifier = _security(host).guard._claims._verifier
    verifier.verify_record = verifier.verify_rumour = _nothing


def admit_anybody(host: Host) -> None:
    """Let every certificate of an agent count as issued by a machine of the mesh."""
    _security(host).credential.trust.verify_agent = lambda certificate: certificate.role


def accept_old_processes(host: Host) -> None:
    """Let each process of an agent connect, whichever was met before."""
    _security(host).agents.meet = _nothing


def forget_revocations(host: Host) -> None:
    """Let each process begin with a trust map without revocations."""
    machine = _security(host).machine

    def load_without() -> Any:
        machine.statements = msgspec.structs.replace(machine.statements, revocations=())
        return type(machine).load(machine)

    machine.load = load_without


def without_trust_updates(host: Host) -> None:
    """Let nodes tell nobody what is new in their trust maps while they are connected."""
    links: Any = host._network.introducer
    links._send = _nothing


def without_renewal(host: Host) -> None:
    """Let the node use its first key for datagrams for ever."""
    _security(host).guard.renew_keys = _nothing


def renew_without_notice(host: Host) -> None:
    """Use a key from the moment in which it is made."""
    keys = _security(host).keys
    renew = keys.renew

    def renew_at_once() -> None:
        renew()
        keys._keys[keys.number] = keys._generate()

    keys.renew = renew_at_once


def retire_at_once(host: Host) -> None:
    """Let the former key for datagrams be forgotten when the next one is used."""
    guard = _security(host).guard
    renew = guard.renew_keys

    def renew_and_retire() -> None:
        renew()
        guard.retire_keys()

    guard.renew_keys = renew_and_retire


def compare_no_maps(host: Host) -> None:
    """Let all trust maps count as equal."""
    _security(host).credential.trust.digest = lambda: bytes(32)
