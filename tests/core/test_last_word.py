"""What a suspect is told before the verdict, and who is spared by it."""

from __future__ import annotations

from meshp2p.core.events import InstanceDied
from tests.core.mesh import Mesh


def test_what_a_node_suspected_while_it_was_cut_off_kills_nobody_after_it_came_back() -> None:
    mesh = Mesh(1)
    names = [f"n{number:02}" for number in range(60)]
    for name in names:
        mesh.add(name, join=None if name == "n00" else "n00")
    mesh.run(15)
    mesh.is_cut = lambda sender, receiver: (sender == "n30") != (receiver == "n30")
    mesh.run(50)
    before = {name: len(mesh.events[name]) for name in names}
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run(60)
    deaths = [
        (name, event.id)
        for name in names
        for event in mesh.events[name][before[name] :]
        if isinstance(event, InstanceDied)
    ]
    assert deaths == []
    assert mesh.is_whole()
