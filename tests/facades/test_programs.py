"""Ends of whole programs that embed a node: Ctrl-C, no end at all, and a fork."""

from __future__ import annotations

import signal

import pytest

import meshp2p.blocking
from tests.facades.meshes import LONG, has_left, options, program


@pytest.mark.parametrize(
    "text",
    [
        """
        with meshp2p.blocking.open_node(**OPTIONS) as node:
            print("open", flush=True)
            node.wait_for_members(99)
        """,
        """
        async def main():
            async with meshp2p.aio.open_node(**OPTIONS) as node:
                print("open", flush=True)
                await node.wait_for_members(99)
        asyncio.run(main())
        """,
        """
        import trio
        async def main():
            async with meshp2p.open_node(**OPTIONS) as node:
                print("open", flush=True)
                await node.wait_for_members(99)
        trio.run(main)
        """,
    ],
    ids=["blocking", "aio", "trio"],
)
def test_ctrl_c_ends_the_wait_and_the_node_leaves(text: str) -> None:
    with meshp2p.blocking.open_node(**options("a")) as a, program(text, a) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        a.wait_for_members(2, timeout=LONG)
        events = a.events()
        process.send_signal(signal.SIGINT)
        while not has_left("child")(events.get(timeout=LONG)):
            pass
        _, errors = process.communicate(timeout=LONG)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    "text",
    [
        """
        opening = meshp2p.blocking.open_node(**OPTIONS)
        node = opening.__enter__()
        node.wait_for_members(2, timeout=30)

        @node.handler("work")
        def never(message):
            threading.Event().wait()

        node.send("child", 1, kind="work")
        """,
        """
        async def main():
            global opening
            opening = meshp2p.aio.open_node(**OPTIONS)
            node = await opening.__aenter__()
            await node.wait_for_members(2)
        asyncio.run(main())
        """,
    ],
    ids=["blocking", "aio"],
)
def test_a_program_that_ends_without_closing_its_node_is_not_held_up_and_the_node_leaves(text: str) -> None:
    with meshp2p.blocking.open_node(**options("a")) as a, a.events() as events, program(text, a) as process:
        while not has_left("child")(events.get(timeout=LONG)):
            pass
        _, errors = process.communicate(timeout=LONG)
        assert (process.returncode, errors) == (0, "")


def test_a_forked_child_is_told_and_the_node_of_the_parent_goes_on() -> None:
    text = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while there are threads
        with meshp2p.blocking.open_node(**OPTIONS) as node, node.events() as events:
            node.wait_for_members(2, timeout=30)
            next(events)
            pid = os.fork()
            if pid == 0:
                for call in (node.members, lambda: node.send("a", 1), node.events, lambda: list(events)):
                    try:
                        call()
                    except meshp2p.NodeClosed as error:
                        assert "fork" in str(error), error
                    else:
                        os._exit(1)
                sys.exit(0)  # out of the block
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert node.query("a", 1) == 2
        """
    with meshp2p.blocking.open_node(**options("a")) as a:

        @a.handler("Query")
        def answer(number: int) -> int:
            return number + 1

        with program(text, a) as process:
            _, errors = process.communicate(timeout=LONG)
            assert (process.returncode, errors) == (0, "")
