"""Schedules, plans, faults and replay files that nobody should write: each gets an error that names the value."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshp2p.errors import ConfigError
from meshp2p.simulation import replay
from meshp2p.simulation.replay import read_replay
from meshp2p.simulation.schedule import (
    AgentPlan,
    MailPlan,
    MapPlan,
    NodePlan,
    Schedule,
    SecurityPlan,
    dump_schedule,
    load_schedule,
)
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual import faults
from meshp2p.virtual.checked import Checked
from meshp2p.virtual.faults.base import Faulty
from meshp2p.virtual.links import LinkOptions
from tests.simulation.simulated import a_mesh, a_schedule

WRONG: tuple[Any, ...] = (
    None,
    "x",
    b"x",
    True,
    -1,
    0,
    1.5,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    10**30,
    (),
    ("zz",),
    "z" * 200_000,
    [],
    {},
    object(),
    (1,),
    "a\n\x00\ud800",
    ["\ud800"],
)

NEEDED: dict[str, Any] = {
    "groups": (("n0",), ("n1", "n2")),
    "senders": ("n0",),
    "receivers": ("n1",),
    "node": "n1",
    "nodes": ("n1",),
    "probability": 0.5,
    "seconds": 0.5,
    "by": "n0",
    "what": faults.Forgery.GARBAGE,
    "rate": 1.0,
    "number": 0,
    "datagrams": 3,
}

PLANS: dict[str, tuple[type[Checked], dict[str, Any]]] = {
    "nodes": (NodePlan, {"id": "n9"}),
    "agents": (AgentPlan, {"id": "agent", "nodes": ("n0",), "at": 1.0}),
    "mail": (MailPlan, {"source": "boss", "nodes": ("n0",), "target": "n1", "at": 1.0, "until": 3.0}),
    "maps": (MapPlan, {"name": "map", "nodes": ("n0",), "at": 1.0, "until": 3.0}),
}

FAULTS = sorted(
    (each for name in faults.__all__ if isinstance(each := getattr(faults, name), type) and issubclass(each, Faulty)),
    key=lambda kind: kind.__name__,
)


def is_refused(make: Callable[[], Schedule]) -> bool:
    """Whether a schedule is refused with a clear error. If not, it runs, and a replay file holds it."""
    with contextlib.suppress(ConfigError):
        schedule = make()
        assert load_schedule(dump_schedule(schedule)) == schedule
        simulation = Simulation(msgspec.structs.replace(schedule, checks=()))
        simulation.run_until(4.0)
        assert not simulation.violations
        return False
    with pytest.raises(ConfigError) as caught:
        make()
    text = str(caught.value)
    assert 0 < len(text.encode()) < 500
    assert "\n" not in text
    return True


def refused(kind: type[Checked], given: dict[str, Any], place: Callable[[Any], Schedule]) -> int:
    """How many wrong values of the fields of this kind are refused; ``place`` makes a schedule with one."""

    def make(name: str, value: Any) -> Schedule:
        return place(kind(**{**given, name: value}))

    return sum(
        is_refused(functools.partial(make, field.name, value))
        for field in msgspec.structs.fields(kind)
        for value in WRONG
    )


@pytest.mark.parametrize("part", PLANS)
def test_a_plan_with_a_wrong_value_is_refused_or_runs(part: str) -> None:
    kind, given = PLANS[part]
    plain = a_schedule(nodes=3, duration=4.0)
    others = getattr(plain, part)
    assert refused(kind, given, lambda plan: msgspec.structs.replace(plain, **{part: (*others, plan)})) > 50


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_with_a_wrong_value_is_refused_or_runs(kind: type[Faulty]) -> None:
    if kind.__subclasses__():
        return  # a base class
    given = {field.name: NEEDED[field.name] for field in msgspec.structs.fields(kind) if field.required}
    security = SecurityPlan() if issubclass(kind, faults.SecurityFault) else None
    plain = a_schedule(nodes=3, duration=4.0, security=security)
    assert refused(kind, {**given, "begin": 2.0}, lambda fault: msgspec.structs.replace(plain, faults=(fault,))) > 15


def test_a_schedule_with_a_wrong_value_is_refused_or_runs() -> None:
    plain = a_schedule(nodes=3, duration=4.0)
    given = {name: getattr(plain, name) for name in plain.__struct_fields__}
    # the names of checkers and ablations are checked by the simulation
    assert refused(Schedule, {**given, "checks": ()}, lambda it: msgspec.structs.replace(it, ablations=())) > 100
    assert refused(SecurityPlan, {}, lambda plan: msgspec.structs.replace(plain, security=plan)) > 30
    assert refused(LinkOptions, {}, lambda link: msgspec.structs.replace(plain, link=link)) > 20


def test_lists_are_taken_as_tuples() -> None:
    plan: Any = {"id": "a", "seeds": ["a"]}
    assert NodePlan(**plan).seeds == ("a",)


@pytest.mark.parametrize(
    "plan",
    [
        {"mail": (MailPlan(source="boss", nodes=("n0",), at=5.0),)},
        {"maps": (MapPlan(name="map", nodes=("n0",), at=5.0, until=4.0),)},
        {"agents": (AgentPlan(id="agent", nodes=("n0",), at=5.0, until=4.0),)},
    ],
    ids=lambda plan: next(iter(plan)),
)
def test_a_plan_that_ends_before_it_begins_is_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at = 5"):
        a_schedule(**plan)


@pytest.mark.parametrize(("by", "node"), [("n0", "n1"), ("n1", "n2"), ("n0", "n2")])
def test_a_node_above_another_may_revoke_it(by: str, node: str) -> None:
    chain = SecurityPlan(inviters={"n2": "n1"})
    simulation = Simulation(a_schedule(faults.ShutOut(begin=2.0, node=node, by=by), security=chain, checks=()))
    simulation.run_until(4.0)
    assert not simulation.violations
    assert node in simulation.oracle.shut_out


@pytest.mark.parametrize(("by", "node"), [("n1", "n3"), ("n1", "n0"), ("n2", "n1")])
def test_a_revocation_without_the_right_to_it_is_refused(by: str, node: str) -> None:
    with pytest.raises(ConfigError, match="expected a node above"):
        a_schedule(faults.ShutOut(begin=2.0, node=node, by=by), security=SecurityPlan(inviters={"n2": "n1"}))


@pytest.mark.parametrize(
    "fault",
    [
        faults.Crash(node="n9"),
        faults.DeadAddress(node="n1", number=1),
        faults.Liar(node="n1"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_that_the_mesh_cannot_have_does_not_begin_in_a_stepped_run(fault: faults.Fault) -> None:
    simulation = a_mesh()
    with pytest.raises(ConfigError, match=type(fault).__name__):
        simulation.begin(fault)
    simulation.run_until(15.0)
    assert not simulation.violations
    assert not simulation.oracle.active


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_fault_does_not_begin(fault: Any) -> None:
    with pytest.raises(ConfigError, match="expected a fault"):
        a_mesh(until=1.0).begin(fault)


def broken_files() -> dict[str, bytes]:
    whole = dump_schedule(a_schedule())
    other: dict[str, Any] = json.loads(whole)
    other["schedule"]["format"] = 2
    extra: dict[str, Any] = json.loads(whole)
    extra["schedule"]["nodes"][0]["colour"] = "red"
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "deep": b"[" * 100_000,
        "deep-extra": b'{"x": ' + b"[" * 100_000,
        "null": b"null",
        "binary": bytes(range(256)),
        "of-another-version": json.dumps(other).encode(),
        "extra-field": json.dumps(extra).encode(),
        "nan": whole.replace(b"60.0", b"NaN", 1),
        "huge": whole + b" " * replay.BYTES_MAX,
    }


@pytest.mark.parametrize("name", broken_files())
def test_a_broken_replay_file_gets_one_line_and_no_traceback(name: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(broken_files()[name])
    with pytest.raises(ConfigError) as caught:
        read_replay(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
