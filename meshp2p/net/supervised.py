"""A machine that survives an input which raises an error.

The core has invariants, and raises an error if a fault of the core breaks one. In a node this must not end the process,
which also runs the agent's program. The input is dropped, counted (``rebuilds``) and logged, and its effects are
discarded. Then the machine is built anew with its records, messages and shared maps, as after a restart. Pending
requests get the answer that it is unknown whether they took effect.
"""

from __future__ import annotations

import collections
import logging
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, FetchReply, ForwardFetch, Refused, Why
from meshp2p.core.datagrams import Datagram
from meshp2p.core.effects import CallFailed, Effect, Resolve, WatchOpened
from meshp2p.core.machine import Machine
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.requests import Fetch, Request, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, InternalError, LocalProtocolError, MeshError

__all__ = ["SupervisedMachine"]

_log = logging.getLogger("meshp2p.net")

REBUILDS_MAX: Final = 3
REBUILDS_SECONDS: Final = 60.0
"""How many rebuilds are allowed in how many seconds; one more ends the node. Chosen, not measured."""

_UNKNOWN: Final = Refused(Why.UNREACHABLE, "a fault in this node: whether it took effect is unknown")

_T = TypeVar("_T")


class SupervisedMachine(Machine):
    """A machine whose inputs raise only their documented errors. ``give_up(error)`` is called once if that is
    impossible: then the node must leave."""

    def __init__(self, *arguments: Any, give_up: Callable[[InternalError], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._give_up = give_up
        self._asked: dict[int, CallReply] = {}
        """Unresolved tickets, and the answers that they get if the machine is rebuilt."""
        self._rebuilt: collections.deque[float] = collections.deque(maxlen=REBUILDS_MAX)
        self._has_given_up = False
        self._is_dead = False

    # What happened

    def start(self, now: float) -> list[Effect]:
        return self._run(now, super().start, now)

    def receive(self, datagram: Datagram, source: Address, now: float) -> list[Effect]:
        return self._run(now, super().receive, datagram, source, now)

    def receive_call(self, request: CallRequest, now: float, ticket: int = 0) -> tuple[CallReply | None, list[Effect]]:
        self._asked[ticket] = FetchReply(()) if isinstance(request, ForwardFetch) else _UNKNOWN
        try:
            reply, effects = super().receive_call(request, now, ticket)
        except Exception as error:  # noqa: BLE001  # whatever it is
            return None, self._begin_anew(error, now)
        if reply is not None:
            self._asked.pop(ticket, None)
        self._note(effects)
        return reply, effects

    def receive_stored(self, numbers: Sequence[int], failure: str | None, now: float) -> list[Effect]:
        return self._run(now, super().receive_stored, numbers, failure, now)

    def receive_persisted(self, failure: str | None, now: float) -> list[Effect]:
        return self._run(now, super().receive_persisted, failure, now)

    def receive_reply(self, call_id: int, reply: CallReply | CallFailed, now: float) -> list[Effect]:
        return self._run(now, super().receive_reply, call_id, reply, now)

    def receive_watch(self, watch_id: int, outcome: WatchOpened | CallFailed, now: float) -> list[Effect]:
        return self._run(now, super().receive_watch, watch_id, outcome, now)

    def handle_timeouts(self, now: float) -> list[Effect]:
        return self._run(now, super().handle_timeouts, now)

    def next_deadline(self) -> float:
        return math.inf if self._is_dead else super().next_deadline()

    # What the agent asks

    def request(self, ticket: int, request: Request, now: float) -> list[Effect]:
        self._asked[ticket] = FetchReply(()) if isinstance(request, Fetch) else _UNKNOWN
        try:
            return self._run(now, super().request, ticket, request, now)
        except (LocalProtocolError, ConfigError):
            del self._asked[ticket]
            raise

    def send(self, requests: dict[int, SendMessage], now: float) -> tuple[dict[int, MeshError], list[Effect]]:
        self._asked |= dict.fromkeys(requests, _UNKNOWN)
        try:
            refused, effects = super().send(requests, now)
        except Exception as error:  # noqa: BLE001  # whatever it is
            return {}, self._begin_anew(error, now)
        for ticket in refused:
            del self._asked[ticket]
        self._note(effects)
        return refused, effects

    def abandon(self, ticket: int) -> None:
        self._asked.pop(ticket, None)
        super().abandon(ticket)

    def register(self, profile: Profile, now: float, owner: str = "") -> list[Effect]:
        return self._do(now, super().register, profile, now, owner)

    def report(self, status: str, metrics: str, now: float) -> list[Effect]:
        return self._do(now, super().report, status, metrics, now)

    def open_map(self, name: str, merge: Merge | None, now: float) -> tuple[ReplicatedMap, list[Effect]]:
        return self._do(now, super().open_map, name, merge, now)

    def write_map(self, name: str, key: str, value: bytes, now: float) -> list[Effect]:
        return self._do(now, super().write_map, name, key, value, now)

    def offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float) -> list[Effect]:
        return self._run(now, super().offer, source, addresses, instance_id, now)

    def readdress(self, addresses: tuple[Address, ...], now: float, *, hostname: str | None = None) -> list[Effect]:
        return self._run(now, partial(super().readdress, hostname=hostname), addresses, now)

    def expel(
        self, agents: Collection[tuple[bytes, str]], now: float, is_trusted: Callable[[str], bool] | None = None
    ) -> list[Effect]:
        return self._run(now, super().expel, agents, now, is_trusted)

    def leave(self, now: float) -> list[Effect]:
        return self._run(now, super().leave, now)

    # Faults

    def _run(self, now: float, method: Callable[..., list[Effect]], *arguments: object) -> list[Effect]:
        """Run an input whose failure is reported to nobody."""
        if self._is_dead:
            return []
        try:
            effects = method(*arguments)
        except (LocalProtocolError, ConfigError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is
            return self._begin_anew(error, now)
        self._note(effects)
        return effects

    def _do(self, now: float, method: Callable[..., _T], *arguments: object) -> _T:
        """Run a request of the agent. Raises :class:`~meshp2p.errors.InternalError` if it failed; then the effects of
        the rebuilt machine come with the next input."""
        try:
            return method(*arguments)
        except (LocalProtocolError, ConfigError):
            raise
        except Exception as error:
            self._state.effects[:0] = self._begin_anew(error, now)
            raise InternalError("a fault in this node, which began anew: see the log") from error

    def _note(self, effects: Sequence[Effect]) -> None:
        if self._asked:
            for effect in effects:
                if isinstance(effect, Resolve):
                    self._asked.pop(effect.ticket, None)

    def _begin_anew(self, error: Exception, now: float) -> list[Effect]:
        _log.error("an input was dropped, and this node's protocol begins anew: %r", error, exc_info=error)
        asked, self._asked = self._asked, {}
        effects: list[Effect] = [Resolve(ticket, reply) for ticket, reply in asked.items()]
        is_too_often = len(self._rebuilt) == REBUILDS_MAX and now - self._rebuilt[0] < REBUILDS_SECONDS
        self._rebuilt.append(now)
        if self._has_given_up:
            self._is_dead = True
            return effects
        try:
            effects += self.rebuild(now)  # also if it was too often: the node has to say that it leaves
        except Exception:  # noqa: BLE001  # whatever it is
            _log.exception("this node's protocol cannot begin anew")
            self._is_dead = is_too_often = True
        if is_too_often:
            self._has_given_up = True
            self._give_up(InternalError(f"more than {REBUILDS_MAX} faults within {REBUILDS_SECONDS:g} s: {error!r}"))
        return effects
