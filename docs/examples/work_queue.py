"""A queue of work, led by whichever agent leads, that survives the leader's death.

``python work_queue.py`` starts three agents, each a process of its own, and keeps what they finish. When four jobs are
done it kills the leader with SIGKILL; the next goes on with what is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import msgspec
import trio

import meshp2p

JOBS = 12


class Report(msgspec.Struct):
    """What a leader tells the store, under its fencing token. Without a job it asks what there is to do."""

    token: meshp2p.FencingToken
    job: int | None = None
    result: int | None = None


async def lead(node: meshp2p.MeshNode) -> None:
    """Hand out, while leading, what is not done yet."""
    while True:
        with contextlib.suppress(meshp2p.RemoteError):  # the store has heard of a later leader
            async with node.leadership() as lease:  # waits; is cancelled when the leadership ends
                await node.wait_for_members(3)  # the store, and somebody to delegate to
                for job in await node.query("store", Report(lease.token)):
                    result = await node.delegate(job, capability="square")
                    await node.query("store", Report(lease.token, job, result))
                await trio.sleep_forever()


async def agent(name: str, store: str) -> None:
    """Do tasks, and lead where that falls to it, until the store says stop or has gone."""
    async with (
        meshp2p.open_node(id=name, preset="local", port=0, mdns=False, join=[store], capabilities=["square"]) as node,
        trio.open_nursery() as nursery,
    ):

        @node.handler("TaskDelegation")
        async def square(number: int) -> int:
            return number * number

        @node.handler("stop")
        async def stop(_: meshp2p.ReceivedMessage) -> None:
            nursery.cancel_scope.cancel()

        nursery.start_soon(lead, node)
        async for event in node.events():
            if isinstance(event, meshp2p.MemberLeft | meshp2p.MemberDied) and event.id == "store":
                nursery.cancel_scope.cancel()


async def keep() -> None:
    """The store: what is done, and the greatest token it has seen. Its id is after the agents', so that they lead."""
    done: dict[int, int] = {}
    newest = meshp2p.FencingToken(0, "")
    four, all_done = trio.Event(), trio.Event()
    async with meshp2p.open_node(id="store", preset="local", port=0, mdns=False) as node:

        @node.handler("Query")
        async def take(report: Report) -> list[int]:
            nonlocal newest
            if report.token < newest:
                raise meshp2p.Declined(f"{report.token} leads no more: {newest} does")
            if report.token > newest:
                newest = report.token
                print(f"{newest.leader_id} leads; {len(done)} of {JOBS} are done")
            if report.job is not None and report.result is not None:
                done[report.job] = report.result
            if len(done) >= 4:
                four.set()
            if len(done) == JOBS:
                all_done.set()
            return [job for job in range(JOBS) if job not in done]

        names = ("agent-1", "agent-2", "agent-3")
        command = [sys.executable, __file__]
        store = str(node.addresses[0])
        processes = {name: await trio.lowlevel.open_process([*command, name, store]) for name in names}
        try:
            await four.wait()
            killed = newest.leader_id
            os.kill(processes[killed].pid, signal.SIGKILL)
            print("killed", killed)
            await all_done.wait()
            print("sum of squares:", sum(done.values()))
            await node.broadcast(None, kind="stop")
            for process in processes.values():
                await process.wait()
        finally:
            for process in processes.values():
                process.kill()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        trio.run(keep)
    else:
        trio.run(agent, sys.argv[1], sys.argv[2])
