"""The contract of the registry, asked of two nodes in turn."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import trio

from meshp2p.version import __version__
from tests.http.meshes import DETAIL_KEYS, INSTANCE_KEYS, calling, registration

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z")


def seconds_since(time: str) -> float:
    assert TIME.fullmatch(time)
    return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(time)).total_seconds()


def without_heartbeat(instance: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in instance.items() if key not in ("last_heartbeat", "epoch", "led_since")}


async def test_two_nodes_that_are_asked_in_turn_are_not_to_be_told_apart() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for turn in range(50):  # an odd number of requests each time: every one of them goes to either node
            name = f"agent-{turn % 3}"
            first = await caller.register(name, capabilities=["draw"])
            assert name in [peer["instance_id"] for peer in first["peers"]]
            assert (await caller.heartbeat(name, status=f"s{turn}"))["acknowledged"]
            assert name in await caller.listed()
            details = [response.json() for response in await caller.ask_each("GET", f"/registry/agents/{name}")]
            assert without_heartbeat(details[0]) == without_heartbeat(details[1])
            again = await caller.register(name, capabilities=["draw", "paint"])
            for answer in (first, again):
                assert {**answer, "peers": None} == {**again, "peers": None}
            lists = [response.json() for response in await caller.ask_each("GET", "/registry/agents?capability=paint")]
            for answer in lists:
                assert [instance["instance_id"] for instance in answer["instances"]] == [name]
            assert await caller.deregister(name) == 204
            assert name not in await caller.listed()
            assert not (await caller.heartbeat(name))["acknowledged"]
            assert await caller.deregister(name) == 404
            for response in await caller.ask_each("GET", f"/registry/agents/{name}"):
                assert response.status_code == 404


async def test_a_heartbeat_at_one_node_is_seen_at_the_other() -> None:
    async with calling("node-a", "node-b") as (caller, nodes):
        await caller.register("agent")
        before = {node.id: node.member("agent") for node in nodes}
        with trio.fail_after(30):
            for node in nodes:
                while True:
                    await caller.heartbeat("agent")
                    member, first = node.member("agent"), before[node.id]
                    assert member is not None
                    assert first is not None
                    assert member.last_heartbeat >= first.last_heartbeat - dt.timedelta(milliseconds=1)
                    if member.last_heartbeat > first.last_heartbeat + dt.timedelta(milliseconds=500):
                        break


async def test_registering_answers_with_all_instances_and_the_leader() -> None:
    async with calling("node-a", "node-b") as (caller, nodes):
        answer = await caller.register(
            "agent", hostname="ö", port=65_535, capabilities=["b", "a"], agent_profiles=["p"]
        )
        peers = answer.pop("peers")
        assert answer == {"success": True, "instance_id": "agent", "is_leader": True, "leader_id": "agent"}
        assert [peer["instance_id"] for peer in peers] == ["agent", "node-a", "node-b"]
        assert all(peer.keys() == INSTANCE_KEYS for peer in peers)
        own = peers[0]
        assert seconds_since(own.pop("created_at")) < 60
        assert seconds_since(own.pop("last_heartbeat")) < 60
        assert own == {
            "instance_id": "agent",
            "hostname": "ö",
            "port": 65_535,
            "capabilities": ["b", "a"],
            "is_leader": True,
            "agent_profiles": ["p"],
        }
        assert [peer["port"] for peer in peers[1:]] == [node.addresses[0].port for node in nodes]


async def test_registering_again_keeps_when_it_was_created_and_who_leads() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        first = await caller.register("agent")
        leader = await caller.get("/registry/leader")
        second = await caller.register("agent", port=2)
        assert second["peers"][0]["port"] == 2
        assert second["peers"][0]["created_at"] == first["peers"][0]["created_at"]
        after = await caller.get("/registry/leader")
        assert (after["leader_id"], after["leader_epoch"]) == ("agent", leader["leader_epoch"])


async def test_a_list_is_ordered_by_the_bytes_of_the_ids_and_has_one_leader() -> None:
    ids = ["a", "B", "ü", "z", "~", "10", "9", "\ue000", "\U0001f600", " "]
    async with calling("node-a", "node-b") as (caller, _):
        for instance_id in ids:
            await caller.register(instance_id)
        for response in await caller.ask_each("GET", "/registry/agents"):
            answer = response.json()
            listed = [instance["instance_id"] for instance in answer["instances"]]
            assert listed == sorted([*ids, "node-a", "node-b"], key=str.encode)
            leaders = [instance["instance_id"] for instance in answer["instances"] if instance["is_leader"]]
            assert leaders == [answer["leader_id"]] == [" "]


async def test_a_heartbeat_says_whether_the_instances_or_the_leader_changed_since_the_last() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("p")
        expected = {"acknowledged": True, "leader_id": "node-a", "should_sync": False}
        assert await caller.heartbeat("p") == expected
        assert await caller.heartbeat("p") == expected
        await caller.register("q")
        assert await caller.heartbeat("p") == {**expected, "should_sync": True}
        assert await caller.heartbeat("p") == expected
        assert await caller.heartbeat("q") == expected
        await caller.heartbeat("q", status="another")
        assert await caller.heartbeat("p") == expected
        await caller.register("a")
        assert await caller.heartbeat("p") == {"acknowledged": True, "leader_id": "a", "should_sync": True}
        await caller.deregister("a")
        assert await caller.heartbeat("q") == {**expected, "should_sync": True}
        await caller.deregister("q")
        assert await caller.heartbeat("p") == {**expected, "should_sync": True}
        assert await caller.heartbeat("p") == expected


async def test_a_heartbeat_of_an_unknown_instance_is_404_with_the_real_leader() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for _ in range(2):
            answer = await caller.heartbeat("nobody")
            assert answer == {"acknowledged": False, "leader_id": "node-a", "should_sync": False}
        assert await caller.listed() == ["node-a", "node-b"]


async def test_a_node_takes_heartbeats_for_itself_wherever_they_arrive() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for _ in range(2):
            assert (await caller.heartbeat("node-b"))["acknowledged"]


async def test_the_status_and_metrics_of_a_heartbeat_are_kept() -> None:
    metrics = {"load": 0.5, "deep": [{"a": None}], "large": 2**70, "": "ü"}
    async with calling("node-a", "node-b") as (caller, nodes):
        await caller.register("agent")
        bodies: list[dict[str, Any]] = [{"metrics": metrics}, {"metrics": None}, {}, {"metrics": {}}]
        for body in bodies:
            await caller.heartbeat("agent", status="busy", **body)
        await caller.heartbeat("agent", status="busy", metrics=metrics, unknown=[1])
        with trio.fail_after(30):
            for node in nodes:
                async for _ in node.events():
                    member = node.member("agent")
                    if member is not None and member.metrics:
                        break
        for response in await caller.ask_each("GET", "/registry/agents/agent"):
            assert (response.json()["status"], response.json()["metrics"]) == ("busy", metrics)


async def test_the_detail_of_a_hosted_instance_and_of_a_node_has_all_keys() -> None:
    async with calling("node-a", "node-b") as (caller, nodes):
        await caller.register("agent")
        for _ in range(2):
            detail = await caller.get("/registry/agents/agent")
            assert detail.keys() == DETAIL_KEYS
            assert (detail["status"], detail["metrics"], detail["address"]) == (None, None, None)
            assert (detail["state"], detail["home"], type(detail["incarnation"])) == ("alive", "node-a", int)
            assert detail["addresses"] == []
        for node in nodes:
            for _ in range(2):
                detail = await caller.get(f"/registry/agents/{node.id}")
                assert detail.keys() == DETAIL_KEYS
                assert (detail["home"], detail["address"]) == (node.id, str(node.addresses[0]))
                assert detail["addresses"][0] == detail["address"]
        with trio.fail_after(30):
            detail = {}
            async for _ in nodes[0].events():
                detail = await caller.get("/registry/agents/agent")
                if detail["epoch"]:
                    break
        assert (detail["is_leader"], detail["led_since"][-1]) == (True, "Z")


async def test_a_list_shows_details_or_the_leader_alone_if_it_is_asked_to() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent", capabilities=["draw"])
        for path, ids in (
            ("detail=true", ["agent", "node-a", "node-b"]),
            ("detail=true&capability=draw", ["agent"]),
            ("detail=true&leader=true", ["agent"]),
            ("detail=true&leader=true&capability=paint", []),
        ):
            shown = (await caller.get(f"/registry/agents?{path}"))["instances"]
            assert [instance["instance_id"] for instance in shown] == ids
            assert all(instance.keys() == DETAIL_KEYS for instance in shown)
        (leader,) = (await caller.get("/registry/agents?leader=true&detail=false"))["instances"]
        assert leader.keys() == INSTANCE_KEYS
        for response in await caller.ask_each("GET", "/registry/agents?detail=yes"):
            assert (response.status_code, response.json()["error"]) == (
                422,
                "detail='yes' in the query: expected true or false",
            )


async def test_an_unknown_instance_has_no_detail() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for response in await caller.ask_each("GET", "/registry/agents/nobody"):
            assert response.status_code == 404
            assert response.json().keys() == {"error"}
            assert "nobody" in response.json()["error"]


async def test_a_list_is_filtered_by_all_that_is_asked_for() -> None:
    async with calling("node-a", "node-b", capabilities=["all"]) as (caller, nodes):
        await caller.register("p", capabilities=["all", "draw"], agent_profiles=["x", "y"])
        await caller.register("q", capabilities=["all", "draw", "a&b=ü c"], agent_profiles=["x"])
        await caller.heartbeat("q", status="busy")
        with trio.fail_after(30):
            for node in nodes:
                async for _ in node.events():
                    member = node.member("q")
                    if member is not None and member.status:
                        break
        for query, expected in {
            "": ["node-a", "node-b", "p", "q"],
            "?": ["node-a", "node-b", "p", "q"],
            "?capability=all": ["node-a", "node-b", "p", "q"],
            "?capability=draw": ["p", "q"],
            "?capability=draw&capability=all": ["p", "q"],
            "?capability=draw&capability=fly": [],
            "?capability=Draw": [],
            "?capability=": [],
            "?capability=a%26b%3D%C3%BC+c": ["q"],
            "?profile=x": ["p", "q"],
            "?profile=x&profile=y": ["p"],
            "?profile=y&capability=a%26b%3D%C3%BC%20c": [],
            "?status=busy": ["q"],
            "?status=busy&status=idle": [],
            "?status=busy&capability=draw&profile=x": ["q"],
            "?unknown=1": ["node-a", "node-b", "p", "q"],
        }.items():
            for _ in range(2):
                assert await caller.listed(query) == expected, query


async def test_who_leads_is_told_with_the_fencing_token() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        with trio.fail_after(30):
            while (await caller.get("/registry/leader"))["leader_epoch"] == 0:  # the claim is on its way
                pass
        one, other = [response.json() for response in await caller.ask_each("GET", "/registry/leader")]
        assert one.keys() == {"leader_id", "leader_epoch", "since", "is_self"}
        assert (one.pop("is_self"), other.pop("is_self")) == (True, False)
        assert one == other
        assert one["leader_id"] == "node-a"
        assert one["leader_epoch"] >= 1
        assert seconds_since(one["since"]) < 60


async def test_health_is_what_the_original_said() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for _ in range(2):
            health = await caller.get("/health")
            uptime = health.pop("uptime_seconds")
            assert type(uptime) is int
            assert 0 <= uptime < 120
            assert health == {"status": "healthy", "version": __version__, "active_sessions": 0}
            assert await caller.get("/livez") == {"status": "alive"}
            assert await caller.get("/readyz") == {"status": "ready"}


async def test_the_id_of_a_live_node_can_neither_be_registered_nor_deregistered() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for instance_id in ("node-a", "node-b"):
            answers = await caller.ask_each("POST", "/registry/register", json=registration(instance_id))
            answers += await caller.ask_each("DELETE", f"/registry/deregister/{instance_id}")
            for response in answers:
                assert response.status_code == 409
                assert response.json().keys() == {"error"}
                assert instance_id in response.json()["error"]
        assert await caller.listed() == ["node-a", "node-b"]


async def test_a_heartbeat_that_was_answered_is_seen_by_whoever_asks_any_node() -> None:
    async with calling("node-a", "node-b", "node-c") as (caller, _):
        await caller.register("agent")
        times: dict[int, str] = {}
        for number in range(30):  # far more often than a status is published
            await caller.heartbeat("agent", status=f"s{number}", metrics={"n": number})
            for place, answer in enumerate(await caller.ask_each("GET", "/registry/agents/agent")):
                shown = answer.json()
                assert (shown["status"], shown["metrics"]) == (f"s{number}", {"n": number})
                assert shown["last_heartbeat"] >= times.get(place, "")
                times[place] = shown["last_heartbeat"]
        assert await caller.deregister("agent") == 204
        assert {answer.status_code for answer in await caller.ask_each("GET", "/registry/agents/agent")} == {404}
