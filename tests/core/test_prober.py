"""Probing: whom, and what becomes of it."""

from __future__ import annotations

from meshp2p.core.events import MemberJoined, MemberSuspected
from tests.core.mesh import Mesh


def test_a_probe_of_the_process_that_died_does_not_accuse_the_one_that_came_back() -> None:
    for seed in range(20):
        mesh = Mesh(seed)
        mesh.add("a")
        mesh.add("b", join="a")
        mesh.add("c", join="a")
        mesh.run_until(mesh.is_whole, 5)
        mesh.kill("a")
        while "a" in mesh.nodes["b"].records():
            mesh.run(1)
        mesh.add("a", join="b")
        mesh.run(5)
        for observer in ("b", "c"):
            events = mesh.events[observer]
            returned = max(i for i, e in enumerate(events) if isinstance(e, MemberJoined) and e.id == "a")
            assert not [event for event in events[returned:] if isinstance(event, MemberSuspected)]
