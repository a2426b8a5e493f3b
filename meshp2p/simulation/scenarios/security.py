"""Scenarios of secured meshes: joining, revocation, new keys, and attacks."""

from __future__ import annotations

from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.simulation.schedule import SecurityPlan
from meshp2p.virtual.faults import Crash, Forged, Forgery, Impostor, Liar, Lossy, ShutOut, Sleep

__all__: list[str] = []

INVITERS_MAX = 3
"""The maximum number of machines between the first one and another."""

KEY_SECONDS, RETIRED_SECONDS = 8.0, 2.0
"""In place of a day and ten minutes, so that a run has many changes of keys."""


def _secure(draft: Draft, *, has_new_keys: bool = False) -> None:
    """Make the mesh a secured one, in which any machine may have invited a later one."""
    inviters: dict[str, str] = {}
    above = {draft.names[0]: 0}
    for name in draft.names[1:]:
        inviters[name] = draft.random.choice([one for one, count in above.items() if count < INVITERS_MAX])
        above[name] = above[inviters[name]] + 1
    draft.security = (
        SecurityPlan(inviters=inviters, key_seconds=KEY_SECONDS, retired_seconds=RETIRED_SECONDS)
        if has_new_keys
        else SecurityPlan(inviters=inviters)
    )


@scenario("join", "machines are invited one after another, also by new ones, while a stranger tries to get in", nodes=8)
def _join(draft: Draft) -> None:
    _secure(draft)
    at = 0.0
    for name in draft.names[1:]:
        at += draft.random.expovariate(len(draft.names) / draft.chaos_end)
        draft.starts[name] = round(min(at, draft.chaos_end), 3)
    draft.faults.append(Impostor(begin=1.0, end=draft.chaos_end, rate=2.0))


@scenario("revoke", "a machine is revoked and goes on talking, and later all others are restarted", nodes=16, least=3)
def _revoke(draft: Draft) -> None:
    _secure(draft)
    begin = draft.chaos_begin
    by, node = draft.names[0], draft.random.choice(draft.names[1:])
    keeps_talking = draft.random.random() < 0.75
    draft.faults.append(ShutOut(begin=begin, node=node, by=by, keeps_talking=keeps_talking))
    again = round((begin + draft.chaos_end) / 2, 3)
    draft.faults += [Crash(begin=again, end=again + 1.0, node=other) for other in draft.names if other != node]


@scenario("renewal", "nodes change their keys for datagrams every 8 s, also while packets are lost and sent again")
def _renewal(draft: Draft) -> None:
    _secure(draft, has_new_keys=True)
    begin = round((draft.chaos_begin + draft.chaos_end) / 2, 3)
    draft.faults += [
        Lossy(begin=begin, end=draft.chaos_end, probability=0.1),
        Forged(begin=begin, end=draft.chaos_end, what=Forgery.REPLAY, rate=20.0),
    ]


@scenario("sleeper", "a machine sleeps through changes of keys, the revocation of another one and restarts", least=4)
def _sleeper(draft: Draft) -> None:
    _secure(draft, has_new_keys=True)
    first, *others = draft.names
    asleep, node, *rest = draft.random.sample(others, len(others))
    inviters = dict.fromkeys(others, first)
    draft.security = SecurityPlan(inviters=inviters, key_seconds=KEY_SECONDS, retired_seconds=RETIRED_SECONDS)
    begin, end = draft.chaos_begin, draft.chaos_end
    clock_stops = draft.random.random() < 0.5
    draft.faults += [
        Sleep(begin=begin, end=end, node=asleep, clock_stops=clock_stops),
        ShutOut(begin=begin + 10.0, node=node, by=first, keeps_talking=draft.random.random() < 0.7),
    ]
    for place, other in enumerate((first, *rest)):
        at = round(begin + 20.0 + 5.0 * place, 3)
        if at + 2.0 < end:
            draft.faults.append(Crash(begin=at, end=at + 2.0, node=other))


@scenario("forger", "a member and a stranger forge claims, certificates and datagrams", least=4)
def _forger(draft: Draft) -> None:
    _secure(draft)
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.faults += [
        Liar(begin=begin, end=end, node=draft.one(), rate=draft.random.choice((1.0, 10.0))),
        Impostor(begin=begin, end=end, rate=2.0),
        Forged(begin=begin, end=end, what=Forgery.GARBAGE),
    ]


@scenario("accuser", "a member accuses others without end", nodes=5, least=4)
def _accuser(draft: Draft) -> None:
    _secure(draft)
    draft.faults.append(Liar(begin=draft.chaos_begin, end=draft.chaos_begin + 20.0, node=draft.one(), rate=400.0))


@scenario("pretender", "in an open mesh a stranger claims to lead for ever, and asks all nodes to dial each other")
def _pretender(draft: Draft) -> None:
    draft.faults.append(Forged(begin=draft.chaos_begin, end=draft.chaos_begin + 30.0, what=Forgery.CLAIM, rate=200.0))


@scenario("replayer", "a stranger sends recorded datagrams again, and shows certificates of processes that ended")
def _replayer(draft: Draft) -> None:
    _secure(draft)
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.faults += [
        Forged(begin=begin, end=end, what=Forgery.REPLAY, rate=50.0),
        Impostor(begin=begin, end=end, rate=2.0),
        Lossy(begin=begin, end=end, probability=0.05),
    ]
    for _ in range(4):
        at = round(draft.random.uniform(begin, end - 5.0), 3)
        draft.faults.append(Crash(begin=at, end=round(at + draft.random.uniform(0.2, 4.0), 3), node=draft.one()))
