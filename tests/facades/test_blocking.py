"""Agents that are plain threads."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

import meshp2p
import meshp2p.blocking
from meshp2p.errors import (
    ConfigError,
    DelegationFailed,
    DelegationState,
    IdConflict,
    NodeClosed,
    QueryTimeout,
    RemoteError,
    UnknownMessage,
    WaitTimeout,
)
from tests.facades.meshes import LONG, has_left, open_pair, options, wait_for


def test_an_agent_sends_handles_and_asks() -> None:
    with open_pair() as (a, b):
        threads: list[threading.Thread] = []

        @b.handler("Query")
        def answer(text: str, message: meshp2p.blocking.ReceivedMessage) -> dict[str, str]:
            threads.append(threading.current_thread())
            if not text:
                raise ValueError("nothing was asked")
            return {"text": text.upper(), "to": message.source}

        assert a.query("b", "hello") == {"text": "HELLO", "to": "a"}
        assert threads[0].name == "meshp2p-handler"
        with pytest.raises(RemoteError, match="nothing was asked"):
            a.query("b", "")
        with pytest.raises(ConfigError, match="expected a plain function"):

            @b.handler("x")
            async def wrong(_message: Any) -> None: ...

        first = a.send("b", {"n": 1}, kind="mine")
        a.broadcast([2])
        with b.inbox() as inbox:
            one, two = next(inbox), inbox.get(timeout=LONG)
            assert (one.id, one.source, one.kind, one.payload, two.payload) == (first, "a", "mine", {"n": 1}, [2])
            one.acknowledge()
            two.acknowledge()
            with pytest.raises(WaitTimeout, match=r"nothing came within 0.01 s"):
                inbox.get(timeout=0.01)
            third = a.send("b", 3)
            assert inbox.get(timeout=LONG).id == third
        (receipt,) = a.message_status(first)
        assert receipt.recipient == "b"
        for unknown in ("none", first[:-4] + "0000"):
            with pytest.raises(UnknownMessage, match=unknown):
                a.message_status(unknown)


def test_an_agent_lists_leads_and_delegates() -> None:
    with open_pair(capabilities=["sum"]) as (a, b):
        assert [member.id for member in a.members()] == ["a", "b"]
        assert [member.id for member in a.find(capability="sum")] == ["b"]
        assert b.wait_for_leader(timeout=LONG).id == "a"
        b.set_status("idle", {"n": 1})
        wait_for(a, lambda event: getattr(getattr(event, "instance", None), "status", "") == "idle")
        with a.leadership(timeout=LONG) as lease:
            assert lease.token.leader_id == "a"
            assert not lease.wait_until_lost(timeout=0)
            with pytest.raises(WaitTimeout, match="did not lead"), b.leadership(timeout=0.01):
                pytest.fail("two lead")
            a.leave()
            assert lease.wait_until_lost(timeout=LONG)
        with pytest.raises(NodeClosed):
            a.send("b", 1)


def test_a_task_has_one_end() -> None:
    with open_pair(capabilities=["sum"]) as (a, b):
        may_end = threading.Event()

        @b.handler("TaskDelegation")
        def work(numbers: list[int]) -> int:
            if not numbers:
                may_end.wait(LONG)
            return sum(numbers)

        assert a.delegate([1, 2], capability="sum", timeout=LONG) == 3
        with a.delegation([3, 4], capability="sum") as task:
            assert task.result(timeout=LONG) == 7
            assert (task.state, task.agent, task.tried) == (DelegationState.COMPLETED, "b", ["b"])
        with a.delegation([], capability="sum") as task:
            with pytest.raises(WaitTimeout, match="did not end"):
                task.result(timeout=0.01)
            task.fail("not needed")
            with pytest.raises(DelegationFailed, match="not needed"):
                task.result()
        with a.delegation([], capability="sum") as task:
            pass
        assert task.state is DelegationState.CANCELLED
        may_end.set()


def test_handlers_run_side_by_side_as_many_as_they_say_and_one_that_is_stuck_holds_up_no_other() -> None:
    with open_pair() as (a, b):
        may_end = threading.Event()
        together = threading.Barrier(2)

        @b.handler("Query", concurrency=2)
        def answer(_message: Any) -> int:
            return together.wait(LONG)

        @b.handler("stuck", concurrency=1, timeout=0.01)
        def stuck(_message: Any) -> None:
            may_end.wait(LONG)

        a.send("b", 1, kind="stuck")
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(a.query("b", 1))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == [0, 1]
        may_end.set()


def test_several_threads_may_read_one_inbox() -> None:
    with open_pair() as (a, b), b.inbox() as inbox:
        seen: list[int] = []
        all_seen = threading.Event()

        def read() -> None:
            for message in inbox:
                message.acknowledge()
                seen.append(message.payload)
                if len(seen) == 20:
                    all_seen.set()

        threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(20):
            a.send("b", number)
        assert all_seen.wait(LONG)
        assert sorted(seen) == list(range(20))
        b.leave()
        for thread in threads:  # the node has left, and their iterators end
            thread.join(LONG)
            assert not thread.is_alive()


def test_an_inbox_that_is_forgotten_keeps_no_message() -> None:
    with open_pair() as (a, b):
        for number in range(3):
            a.send("b", number)
            for message in b.inbox():
                assert message.payload == 0
                break
            gc.collect()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_what_the_block_raises_comes_out_as_it_is_and_the_node_has_left(error: type[BaseException]) -> None:
    with meshp2p.blocking.open_node(**options("a")) as a:

        def open_and_raise() -> None:
            with meshp2p.blocking.open_node(**options("b", a)) as b:
                a.wait_for_members(2, timeout=LONG)
                nodes.append(b)
                iterators.append(b.inbox())
                raise error

        nodes: list[meshp2p.blocking.MeshNode] = []
        iterators: list[Any] = []
        with pytest.raises(error):
            open_and_raise()
        b = nodes[0]
        assert a.member("b") is None
        assert list(iterators[0]) == []
        for call in (b.members, b.inbox, b.wait_for_leader, lambda: b.send("a", 1), lambda: b.uptime):
            with pytest.raises(NodeClosed, match="open a new one"):
                call()


def test_an_id_that_is_lost_is_told_by_the_next_call_and_at_the_end_of_the_block() -> None:
    with meshp2p.blocking.open_node(**options("x")) as first:

        def lose() -> None:
            with (
                meshp2p.blocking.open_node(**options("x")) as second,
                meshp2p.blocking.open_node(**options("c", first, second)),
            ):
                with pytest.raises(IdConflict):
                    second.wait_for_members(99, timeout=LONG)
                with pytest.raises(IdConflict):
                    second.members()
                heard.append(True)

        heard: list[bool] = []
        with pytest.raises(IdConflict):
            lose()
        assert heard
        assert first.member("x") is not None


def test_what_cannot_be_started_says_so() -> None:
    with (
        meshp2p.blocking.open_node(**options("a")) as a,
        pytest.raises(meshp2p.StartError, match="in use"),
        meshp2p.blocking.open_node(**{**options("b"), "port": a.addresses[0].port}),
    ):
        pytest.fail("it was opened")
    with pytest.raises(ConfigError, match="unknown option"), meshp2p.blocking.open_node(colour="red"):  # type: ignore[call-arg]
        pytest.fail("it was opened")


def test_a_query_that_is_not_answered_ends() -> None:
    with open_pair() as (a, _b):
        with pytest.raises(QueryTimeout, match=r"within 0.01 s"):
            a.query("b", 1, timeout=0.01)
        with pytest.raises(WaitTimeout, match="99 members"):
            a.wait_for_members(99, timeout=0.01)


def test_leaving_is_told_to_the_others() -> None:
    with meshp2p.blocking.open_node(**options("a")) as a:
        events = a.events()
        with meshp2p.blocking.open_node(**options("b", a)):
            a.wait_for_members(2, timeout=LONG)
        while not has_left("b")(events.get(timeout=LONG)):
            pass
