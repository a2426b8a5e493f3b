"""One kinship node with its preset for a LAN. Commands are lines, as for ``node_program``: ``begin``, ``status TEXT``,
``leave``."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable

import kinship

from simulations.benchmarks.lines import tell
from simulations.benchmarks.peers.commands import make_parser, obey

PORT = 7946
KEY = bytes(32)
"""The preset needs a key; its value does not matter here."""
EVENTS_MAX = 65536
"""How many events may wait to be printed on a busy machine. Chosen, not measured."""
JOIN_PAUSE = 0.1
"""Seconds between two attempts to join, because the first node may not listen yet."""


def say(event: kinship.Event) -> None:
    match event:
        case kinship.MemberJoined():
            tell("joined", event.member.name)
        case kinship.MemberUpdated():
            tell("updated", event.member.name, event.member.meta.get("status", ""))
        case kinship.MemberSuspect():
            tell("suspected", event.member.name)
        case kinship.MemberRecovered():
            tell("recovered", event.member.name)
        case kinship.MemberDead() | kinship.MemberLeft():
            tell("gone", event.member.name)
        case kinship.EventsLost():
            sys.exit(f"{event.count} events were lost")
        case _:
            pass


def say_all(events: Iterable[kinship.Event]) -> None:
    for event in events:
        say(event)


class Agent:
    """Runs the node, several times if told so."""

    def __init__(self, node_id: str, host: str, seeds: list[str]) -> None:
        self._config = kinship.Config.lan(
            name=node_id, bind=f"{host}:{PORT}", keys=[KEY], seeds=seeds, event_buffer=EVENTS_MAX
        )
        self._seeds = seeds
        self._cluster: kinship.blocking.Cluster | None = None

    def begin(self) -> None:
        cluster = self._cluster = kinship.blocking.Cluster(self._config)
        cluster.start()
        events = cluster.events()
        for member in cluster.members():
            if member.name != self._config.name:
                tell("joined", member.name)
        threading.Thread(target=say_all, args=[events], daemon=True).start()
        pause = threading.Event()
        with contextlib.suppress(kinship.KinshipClosed):
            while self._seeds:
                with contextlib.suppress(kinship.JoinError):
                    cluster.join()
                    return
                pause.wait(JOIN_PAUSE)

    def set_status(self, text: str) -> None:
        assert self._cluster is not None
        self._cluster.set_meta({"status": text})

    def leave(self) -> None:
        assert self._cluster is not None
        self._cluster.close()
        tell("left")


def main() -> None:
    options = make_parser(__doc__).parse_args()
    obey(Agent(options.id, options.host, [options.join] if options.join else []))


if __name__ == "__main__":
    main()
