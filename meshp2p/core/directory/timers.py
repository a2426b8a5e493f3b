"""All deadlines of a machine in one place."""

from __future__ import annotations

import enum
import heapq
import math

__all__ = ["Timer", "Timers"]


class Timer(enum.IntEnum):
    """The kind of a timer. Its subject, if it has one, is an id or a number as text."""

    PROBE = 0
    """The next protocol period begins."""
    PROBE_DIRECT = 1
    """The direct ping got no answer: ask others."""
    RELAY = 2
    """A ping for another node got no answer: send the nack. Subject: its sequence."""
    GOSSIP = 3
    """There is something to gossip."""
    SUSPICION = 4
    """A suspect becomes dead. Subject: its id."""
    CALL_DEAD = 5
    """A dead node may be called again."""
    FORGET = 6
    """The oldest departed instance is forgotten."""
    DIAL = 7
    """A candidate is due for dialling."""
    SETTLE = 8
    """The settle window ends."""
    EXPIRE = 9
    """A hosted instance had no heartbeat. Subject: its id."""
    ORPHAN = 10
    """An instance whose home is gone was not adopted. Subject: its id."""
    PUBLISH = 11
    """A report that was held back is published. Subject: its id."""
    LAST_WORD = 12
    """A suspect is told once more, before the verdict. Subject: its id."""
    WATCH = 13
    """The nodes to watch are chosen again."""
    CHECK = 14
    """A check continues or ends. Subject: the id of the checked node."""
    LOOK = 15
    """The mesh has changed and is quiet: compare views with another node."""
    LEASE = 16
    """The home of a leader asks for the next grants, under a quorum."""
    LEASE_ENDS = 17
    """A lease that this node holds, or granted, may have ended. Subject: "held" or "granted"."""
    PATH = 18
    """The address in use of a node did not answer in time. Subject: its id."""
    ROLL_CALL = 19
    """A wave of checks is over: decide whether another follows."""
    CONTACT = 20
    """Check whether anything was received recently."""
    LOOKUP = 21
    """A lookup of an instance waited for its home for long enough. Subject: its ticket and the id."""
    DELIVER = 32
    """A failed delivery is retried. Subject: the home's id."""
    TELL = 33
    """A holder that did not answer is told of acknowledgements again. Subject: its id."""
    ACCEPT = 34
    """A message is accepted although its recipients' homes did not answer yet. Subject: its id."""
    RETURN = 35
    """A node that left did not come back. Subject: its id."""
    EXPIRE_MESSAGES = 36
    """The oldest message that this node holds expires."""
    EXPIRE_MAIL = 37
    """The oldest message in a mailbox expires."""
    WAIT = 38
    """A long poll ends. Subject: its ticket."""
    CONFIRM = 39
    """An acknowledgement is answered although its holders did not answer yet. Subject: its ticket."""
    UNBLOCK = 40
    """A recipient's home refused its messages, and is asked again. Subject: the recipient's id."""
    FORGET_MAIL = 41
    """No message to or from an instance that is gone can still be under way. Subject: its id."""
    RETURN_MAIL = 44
    """A recipient moved, and what its mailbox here has must still go to its holders and its new home. Subject: the
    recipient's id."""
    PERSIST = 42
    """This node's own numbers could not be stored, and are written again."""
    STORE = 43
    """Messages could not be stored: check whether they can be now."""
    MAP_SYNC = 48
    """A shared map is compared with another node's. Subject: its name."""
    MAP_TELL = 49
    """A shared map has changes to send. Subject: its name."""


Key = tuple[Timer, str]

SLACK = 64
"""How many replaced or cancelled entries may stay in the heap, beside as many as are set. Chosen, not measured."""


class Timers:
    """A heap of deadlines, one for each (timer, subject). Setting one again replaces it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._live: dict[Key, tuple[float, int, Key]] = {}
        self._count = 0

    def set(self, timer: Timer, deadline: float, subject: str = "") -> None:
        key = (timer, subject)
        self._count = count = self._count + 1
        entry = self._live[key] = (deadline, count, key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._live) + SLACK:
            self._heap = list(self._live.values())
            heapq.heapify(self._heap)

    def set_earlier(self, timer: Timer, deadline: float, subject: str = "") -> None:
        """Set a timer, unless it is set for an earlier time already."""
        present = self.deadline(timer, subject)
        if present is None or deadline < present:
            self.set(timer, deadline, subject)

    def cancel(self, timer: Timer, subject: str = "") -> bool:
        """Cancel a timer. Return whether it was set."""
        return self._live.pop((timer, subject), None) is not None

    def is_set(self, timer: Timer, subject: str = "") -> bool:
        return (timer, subject) in self._live

    def deadline(self, timer: Timer, subject: str = "") -> float | None:
        entry = self._live.get((timer, subject))
        return None if entry is None else entry[0]

    def next_deadline(self) -> float:
        """Return the earliest deadline; infinity if there is none."""
        heap, live = self._heap, self._live
        while heap:
            entry = heap[0]
            if live.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(heap)
        return math.inf

    def pop_due(self, now: float) -> Key | None:
        """Remove and return the earliest timer that is due at ``now``, or None."""
        if self.next_deadline() > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._live[key]
        return key
