"""Queries between two processes, one of which is killed or stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

import meshp2p
import meshp2p.blocking
from meshp2p.errors import ConnectionLost, QueryTimeout
from tests.facades.meshes import LONG, options, program

ANSWERING = """
count = 0
with meshp2p.blocking.open_node(**OPTIONS) as node:
    @node.handler("Query")
    def answer(question: str):
        global count
        count += 1
        if question == "count":
            return count
        if question == "large":
            return "x" * 1_900_000
        if question == "stuck":
            threading.Event().wait()
        return [question, os.getpid()]

    print("ready", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def asker() -> Iterator[meshp2p.blocking.MeshNode]:
    with meshp2p.blocking.open_node(**options("asker")) as node:
        yield node


def test_a_process_that_is_killed_while_it_answers_leaves_the_outcome_unknown(
    asker: meshp2p.blocking.MeshNode,
) -> None:
    with program(ANSWERING, asker) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        asker.wait_for_members(2, timeout=LONG)
        assert asker.query("child", "hello") == ["hello", process.pid]
        assert len(asker.query("child", "large")) == 1_900_000
        assert asker.query("child", "count") == 3
        with pytest.raises(QueryTimeout, match="did not answer"):
            asker.query("child", "stuck", timeout=0.1)
        assert asker.query("child", "count") == 5
        failures: list[Exception] = []

        def ask() -> None:
            try:
                asker.query("child", "stuck", timeout=LONG)
            except Exception as error:  # noqa: BLE001 - it is looked at
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        counted = 6
        while asker.query("child", "count") == counted:  # until the query that is stuck has come
            counted += 1
        process.send_signal(signal.SIGKILL)
        thread.join(LONG)
        assert [type(failure) for failure in failures] == [ConnectionLost]
