"""Scenarios about messages if one step of the way fails: homes that forget and return at once, senders that leave or
die, small mailboxes, relays, clocks that are set back."""

from __future__ import annotations

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.simulation.schedule import AgentPlan, MailPlan
from meshp2p.virtual.faults import ClockStep, Crash, Delayed, DiskFull, DiskSlow, Hidden, Kind, Leave, Partition, Pause

__all__: list[str] = []


def _mail(source: str, node: str, target: str, at: float, until: float, every: float, bytes_max: int = 0) -> MailPlan:
    return MailPlan(
        source=source,
        nodes=(node,),
        target=target,
        at=round(at, 3),
        until=round(until, 3),
        every=every,
        bytes_max=bytes_max,
    )


@scenario("forgets-at-once", "a home is started again at once, without what it had, and calls are slow", least=3)
def _forgets_at_once(draft: Draft) -> None:
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    home, *senders = draft.random.sample(draft.names, 3)
    for number, node in enumerate(senders):
        draft.mail.append(_mail(f"sender{number}", node, home, 5.0, end, 0.07 + number / 10))
    draft.faults.append(
        Delayed(begin=begin, end=end, seconds=draft.random.choice((0.05, 0.2)), jitter=0.1, spikes=0.05)
    )
    while begin < end - 5.0:
        down = draft.random.choice((0.01, 0.1, 0.3))
        crash = Crash(begin=round(begin, 3), end=round(begin + down, 3), node=home, keeps_state=False)
        draft.faults.append(crash)
        begin += draft.random.uniform(8.0, 12.0)


@scenario(
    "sender-leaves",
    "nodes leave while they hold mail: for a node that is down, and for agents of theirs",
    nodes=5,
    least=5,
)
def _sender_leaves(draft: Draft) -> None:
    begin = draft.chaos_begin
    draft.calm = 15.0
    down, sender, second, home, *rest = draft.random.sample(draft.names, len(draft.names))
    draft.agents.append(AgentPlan(id="agent", nodes=(home, *rest), at=2.0, every=3.0))
    draft.mail += [
        _mail("to the node", sender, down, 5.0, begin + 3.0, 0.3),
        _mail("to it too", second, down, 5.0, begin + 3.2, 0.3),
        _mail("to the agent", home, "agent", 5.0, begin + 31.0, 0.1),
    ]
    draft.faults += [
        Crash(begin=begin, end=begin + 20.0, node=down, is_silent=True),
        Leave(begin=begin + 3.1, node=sender),  # and may ask the one that is down to take over
        Leave(begin=begin + 3.3, node=second),
        Crash(begin=begin + 27.6, end=begin + 45.0, node=down, is_silent=True),
        Leave(begin=begin + 30.0 + round(draft.random.random(), 3), node=home),
    ]


@scenario(
    "sender-dies", "nodes die for good just after what they sent was delivered, and its home is restarted", nodes=6
)
def _sender_dies(draft: Draft) -> None:
    begin = draft.chaos_begin
    draft.calm = 10.0
    home, *senders = draft.random.sample(draft.names, 4)
    for number, node in enumerate(senders):
        at = round(begin + 15.0 * number + draft.random.random(), 3)
        draft.mail.append(_mail(f"sender{number}", node, home, 5.0, at, 0.1))
        draft.faults += [
            Crash(begin=at, node=node, is_silent=True),
            Crash(begin=at + 0.05, end=at + 0.5, node=home),
        ]


@scenario(
    "waits-since-the-start", "the first messages of a node wait while it is restarted twice and sends others", least=3
)
def _waits_since_the_start(draft: Draft) -> None:
    draft.calm = 10.0
    sender, target, other, *_ = draft.random.sample(draft.names, len(draft.names))
    begin = draft.chaos_begin
    draft.mail += [
        _mail("early", sender, target, begin + 0.1, begin + 2.0, 0.2),
        _mail("late", sender, other, begin + 8.0, draft.chaos_end, 0.3),
    ]
    draft.faults += [
        Pause(begin=begin, end=begin + 30.0, node=target),
        Crash(begin=begin + 5.0, end=begin + 7.0, node=sender),
        Crash(begin=begin + 20.0, end=begin + 22.0, node=sender),
    ]


@scenario(
    "moves-and-dies", "an agent goes to another node while its home stands still, and who wrote to it dies", nodes=5
)
def _moves_and_dies(draft: Draft) -> None:
    begin = draft.chaos_begin
    draft.calm = 15.0
    home, other, *senders = draft.random.sample(draft.names, 4)
    draft.agents.append(AgentPlan(id="agent", nodes=(other, home), at=2.0, every=1.0))
    draft.starts[other] = begin - 5.0  # until then the agent talks to its home
    for number, node in enumerate(senders):
        draft.mail.append(_mail(f"sender{number}", node, "agent", 5.0, begin + 0.2, 0.05))
    draft.faults += [
        Crash(begin=begin + 0.25, node=senders[0], is_silent=True),
        Pause(begin=begin + 0.3, end=begin + 2.3, node=home),
    ]


@scenario("set-back", "the clocks of nodes that accept messages are set back by an hour", duration=80.0)
def _set_back(draft: Draft) -> None:
    for number, node in enumerate(draft.names):
        target = draft.names[(number + 1) % len(draft.names)]
        draft.mail.append(_mail(f"sender{number}", node, target, 5.0, draft.chaos_end, 0.4))
        draft.mail.append(_mail(f"itself{number}", node, node, 5.0, draft.chaos_end, 4.3))
        at = round(draft.chaos_begin + 3.0 * number, 3)
        draft.faults.append(ClockStep(begin=at, end=draft.chaos_end, node=node, seconds=-3600.0))


@scenario("small-reads", "a read gives few bytes, and agents read on behind what they read last", least=3)
def _small_reads(draft: Draft) -> None:
    draft.calm = 15.0
    draft.config = ProtocolConfig(fetch_bytes_max=20_000, mailbox_bytes_max=200_000)
    end = draft.chaos_end
    home, other, *_ = draft.names
    for number, node in enumerate(draft.names):
        plan = _mail(f"sender{number}", node, home if number else other, 5.0, end, 0.9, 60_000 if number else 2_000)
        draft.mail.append(plan)
    draft.reads_on += (home, other)


@scenario("small-mailboxes", "mailboxes have room for few bytes, and many messages go through them", least=3)
def _small_mailboxes(draft: Draft) -> None:
    draft.calm = 10.0
    draft.config = ProtocolConfig(mailbox_bytes_max=16_000)
    end = draft.chaos_end
    for number, node in enumerate(draft.names):
        target = draft.names[(number + 1) % len(draft.names)]
        draft.mail.append(_mail(f"sender{number}", node, target, 5.0, end, 0.5, 1_000))
    burst = draft.chaos_begin + 10.0
    draft.mail.append(_mail("burst", draft.names[0], draft.names[1], burst, burst + 3.0, 0.05, 4_000))


@scenario("remembers-few", "a home remembers few acknowledged messages, and one who wrote them is cut off", least=3)
def _remembers_few(draft: Draft) -> None:
    begin = draft.chaos_begin
    draft.calm = 10.0
    draft.config = ProtocolConfig(remembered_max=60)
    away, home, *others = draft.random.sample(draft.names, len(draft.names))
    draft.mail.append(_mail("away", away, home, begin - 2.0, begin, 0.05))
    draft.mail += [_mail(f"other{number}", node, home, 5.0, begin + 40.0, 0.3) for number, node in enumerate(others)]
    rest = tuple(sorted((home, *others)))
    draft.faults.append(Partition(begin=begin, end=begin + 40.0, groups=((away,), rest)))


def _mail_around_home(draft: Draft, every: float, within: float) -> str:
    """Choose a home, and let messages come from it, to it and within it, the latter two so often. Return the home."""
    home, sender, *_ = draft.random.sample(draft.names, len(draft.names))
    draft.mail += [
        _mail("from there", home, sender, 5.0, draft.chaos_end, 0.7),
        _mail("to there", sender, home, 5.0, draft.chaos_end, every),
        _mail("to itself", home, home, 5.0, draft.chaos_end, within),
    ]
    return home


@scenario("full-disk", "the disk of a home is full while agents read and acknowledge", least=3)
def _full_disk(draft: Draft) -> None:
    draft.calm = 10.0
    begin, end = draft.chaos_begin, draft.chaos_end
    home = _mail_around_home(draft, every=0.2, within=0.5)
    while begin < end - 8.0:
        draft.faults.append(DiskFull(begin=round(begin, 3), end=round(begin + 3.0, 3), node=home))
        begin += draft.random.uniform(6.0, 12.0)


@scenario("failing-disk", "the disk of a home is slow, and often fails while messages and reads are written", least=3)
def _failing_disk(draft: Draft) -> None:
    draft.calm = 10.0
    draft.config = ProtocolConfig(remembered_max=40)
    begin, end = draft.chaos_begin, draft.chaos_end
    home = _mail_around_home(draft, every=0.1, within=0.3)
    draft.faults.append(DiskSlow(begin=begin, end=end, node=home, seconds=0.5))
    while begin < end - 3.0:
        draft.faults.append(DiskFull(begin=round(begin, 3), end=round(begin + 1.0, 3), node=home))
        begin += draft.random.uniform(1.5, 3.0)


@scenario(
    "hidden-far", "in a larger mesh one writes now and then to a node behind NAT", nodes=16, least=6, duration=200.0
)
def _hidden_far(draft: Draft) -> None:
    one, sender = draft.random.sample(draft.names[1:], 2)
    draft.calm = 10.0
    draft.faults.append(Hidden(begin=0.0, end=draft.chaos_end, nodes=(one,)))
    draft.mail.append(_mail("sender", sender, one, 75.0, draft.chaos_end - 25.0, 20.0))


@scenario(
    "detour-ends", "two nodes that could not call each other can again, and go on writing", least=3, duration=240.0
)
def _detour_ends(draft: Draft) -> None:
    one, other = draft.random.sample(draft.names, 2)
    end = draft.chaos_begin + draft.random.uniform(15.0, 40.0)
    cut = Partition(begin=draft.chaos_begin, end=round(end, 3), groups=((one,), (other,)), kinds=(Kind.TCP,))
    draft.faults.append(cut)
    draft.mail.append(_mail("sender", one, other, 5.0, end + 100.0, 1.0))
