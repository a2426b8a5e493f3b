"""A whole mesh of real nodes in one process, for tests of agents: virtual time, a virtual network, one seed.

::

    async def test_my_agent(virtual_mesh):
        a, b, c = await virtual_mesh.start("a", "b", "c")
        await virtual_mesh.wait_until_whole()
        virtual_mesh.partition(["a"], ["b", "c"])
        await virtual_mesh.sleep(30)
        assert a.leader.id == "a" and b.leader.id == "b"
        virtual_mesh.heal()
        await virtual_mesh.wait_until_whole()

``virtual_mesh`` is a pytest fixture that comes with meshp2p; without pytest, use :func:`run`.
``virtual_mesh.fault(...)`` accepts the network faults of :mod:`meshp2p.virtual.faults`.
"""

from __future__ import annotations

from meshp2p.testing.convergence import NotConverged
from meshp2p.testing.faults import ActiveFault
from meshp2p.testing.mesh import VirtualMesh
from meshp2p.testing.running import run
from meshp2p.virtual.links import LinkOptions

__all__ = ["ActiveFault", "LinkOptions", "NotConverged", "VirtualMesh", "run"]
