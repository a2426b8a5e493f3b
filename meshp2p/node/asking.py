"""Asking other agents: a question with one answer, and a task that is delegated until it has an end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

import trio

from meshp2p.core.instance import Instance
from meshp2p.core.state import Randomness
from meshp2p.errors import (
    DelegationFailed,
    DelegationState,
    LocalProtocolError,
    MailboxFull,
    MeshError,
    PeerLost,
    QueryTimeout,
    RemoteError,
    UnknownInstance,
)
from meshp2p.node.handlers import TASK_CANCEL
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.received import QUERY, TASK, ReceivedMessage

__all__ = ["Asking", "Delegation", "choose_delegate"]

DECLINED: Final = "Declined"
ENDED_MAX: Final = 10_000
"""Questions that are over and whose late answers are known for what they are. Chosen, not measured."""

CANCEL_TIMEOUT: Final = 2.0
"""Seconds in which an agent is told that its task is withdrawn, at most. Chosen, not measured."""


class _Asked:
    """An answer that is awaited: from whom, and what came."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.answer: ReceivedMessage | None = None
        self.came = trio.Event()


class Asking:
    """The asker's side of queries and delegations.

    ``send(target, payload, kind, correlation_id)`` sends, ``wait_gone(instance_id)`` returns when an instance is no
    longer listed, ``new_id`` makes correlation ids of this node's.
    """

    def __init__(
        self,
        send: Callable[[str, object, str, str], Awaitable[str]],
        wait_gone: Callable[[str], Awaitable[None]],
        candidates: Callable[[], list[Instance]],
        new_id: Callable[[], str],
        random: Randomness,
    ) -> None:
        self._send = send
        self._wait_gone = wait_gone
        self._candidates = candidates
        self._new_id = new_id
        self._random = random
        self._asked: dict[str, _Asked] = {}
        self._ended: dict[str, None] = {}
        self.outstanding: dict[str, int] = {}
        """How many tasks of this node's each agent has now."""

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._asked)

    def has_asked(self, correlation_id: str | None) -> bool:
        """Whether a question or task of this node's had this id, and it is not long over."""
        return correlation_id in self._asked or correlation_id in self._ended

    def take(self, message: ReceivedMessage) -> bool:
        """An answer came; whether somebody waits for it: an answer of another than the one who was asked is none."""
        asked = self._asked.get(message.correlation_id or "")
        if asked is None or asked.target != message.source or asked.answer is not None:
            return False
        asked.answer = message
        asked.came.set()
        return True

    async def query(self, target: str, payload: object, timeout: float) -> Any:
        """Ask, and return the answer's payload. Cancel-safe: an answer that comes later is thrown away."""
        with trio.move_on_after(timeout):
            answer = await self._ask(target, payload, QUERY, self._new_id())
            return _result(answer)
        raise QueryTimeout(f"{target!r} did not answer within {timeout:g} s")

    async def _ask(self, target: str, payload: object, kind: str, correlation_id: str) -> ReceivedMessage:
        """Send, and wait for the answer. Raises :class:`PeerLost` where who was asked is gone before it came."""
        asked = self._asked[correlation_id] = _Asked(target)
        try:
            await self._send(target, payload, kind, correlation_id)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, asked)
                await asked.came.wait()
                nursery.cancel_scope.cancel()
        finally:
            del self._asked[correlation_id]
            self._ended[correlation_id] = None
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]
        if asked.answer is None:
            raise PeerLost(f"{target!r} is gone and did not answer")
        return asked.answer

    async def _watch(self, asked: _Asked) -> None:
        await self._wait_gone(asked.target)
        asked.came.set()

    @contextlib.asynccontextmanager
    async def delegation(
        self, payload: object, capability: str | None, profile: str | None
    ) -> AsyncIterator[Delegation]:
        """Delegate a task for the time of a block; at the block's end it is cancelled unless it has an end."""
        delegation = Delegation(self, payload, capability, profile)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(delegation.run)
            yield delegation
            delegation.cancel()

    async def attempt(self, delegation: Delegation, agent: str) -> ReceivedMessage:
        """Let one agent do it. Where this is cancelled the agent is told."""
        correlation_id = self._new_id()
        self.outstanding[agent] = self.outstanding.get(agent, 0) + 1
        is_withdrawn = True
        try:
            answer = await self._ask(agent, delegation.payload, TASK, correlation_id)
            is_withdrawn = False
            return answer
        except MeshError:
            is_withdrawn = False
            raise
        finally:
            self.outstanding[agent] -= 1
            if not self.outstanding[agent]:
                del self.outstanding[agent]
            if is_withdrawn:  # cancelled, which may come in a group
                await self._withdraw(agent, correlation_id)

    async def _withdraw(self, agent: str, correlation_id: str) -> None:
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT),
            contextlib.suppress(LocalProtocolError),
        ):
            await self._send(agent, None, TASK_CANCEL, correlation_id)

    def choose(self, delegation: Delegation) -> str | None:
        """Who is to do it next: see :func:`choose_delegate`."""
        fitting = [
            instance
            for instance in self._candidates()
            if (delegation.capability is None or delegation.capability in instance.capabilities)
            and (delegation.profile is None or delegation.profile in instance.profiles)
        ]
        return choose_delegate(fitting, delegation.tried, self.outstanding, self._random)


class Delegation:
    """A task that some agent does. It has one end: see :class:`~meshp2p.errors.DelegationState`.

    When the agent dies, leaves or declines, the next is asked, so that a task may be begun more than once; what an
    agent answers that is no longer the one is thrown away.
    """

    def __init__(self, asking: Asking, payload: object, capability: str | None, profile: str | None) -> None:
        self.payload = payload
        self.capability = capability
        self.profile = profile
        self.state: DelegationState = DelegationState.RUNNING
        self.agent: str | None = None
        """Who does it now, or did it."""
        self.tried: list[str] = []
        self._asking = asking
        self._result: Any = None
        self._why = ""
        self._ended = trio.Event()
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Delegation {self.state} by {self.agent!r}>"

    async def run(self) -> None:
        """See it to its end."""
        with self._scope:
            await self._run()
        self._end(DelegationState.CANCELLED, "it was cancelled")

    async def _run(self) -> None:
        lost = ""
        while (agent := self._asking.choose(self)) is not None:
            self.agent = agent
            self.tried.append(agent)
            try:
                self._result = _result(await self._asking.attempt(self, agent))
            except (PeerLost, UnknownInstance) as error:
                lost = str(error)
            except MailboxFull as error:
                lost = str(error)
            except RemoteError as error:
                if error.kind != DECLINED:
                    self._end(DelegationState.FAILED, f"{agent!r} answered {error}")
                    return
                lost = f"{agent!r} declined: {error.message}"
            else:
                self._end(DelegationState.COMPLETED, "")
                return
        what = f"capability {self.capability!r}" if self.capability is not None else "that profile"
        self._end(DelegationState.ORPHANED, lost or f"no live instance has {what}")

    def _end(self, state: DelegationState, why: str) -> None:
        if not self._ended.is_set():
            self.state, self._why = state, why
            self._ended.set()

    def fail(self, why: str) -> None:
        """Give it up, as failed: the agent is told."""
        self._end(DelegationState.FAILED, why)
        self._scope.cancel()

    def cancel(self) -> None:
        """Give it up: the agent is told, and what it answers is thrown away. Nothing where it has an end."""
        if not self._ended.is_set():
            self._scope.cancel()

    async def result(self) -> Any:
        """Wait for the end, and return the result. Raises :class:`DelegationFailed` where there is none."""
        await self._ended.wait()
        if self.state is DelegationState.COMPLETED:
            return self._result
        raise DelegationFailed(self.state, self._why)


def choose_delegate(
    fitting: Iterable[Instance], tried: list[str], outstanding: dict[str, int], random: Randomness
) -> str | None:
    """Whom to ask next of those who could do a task: none twice, who says "busy" last, then who has the fewest of our
    tasks, then anybody. None where nobody is left."""
    ranked = [
        ((instance.status == "busy", outstanding.get(instance.id, 0)), instance.id)
        for instance in fitting
        if instance.id not in tried
    ]
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    return random.sample([instance_id for rank, instance_id in ranked if rank == best], 1)[0]


def _result(answer: ReceivedMessage) -> Any:
    """What an answer holds. Raises :class:`RemoteError` where that is an error."""
    payload = answer.payload
    if isinstance(payload, dict) and set(payload) == {"error"} and isinstance(payload["error"], dict):
        error = payload["error"]
        if isinstance(error.get("type"), str) and isinstance(error.get("message"), str):
            raise RemoteError(error["type"], error["message"])
    return payload
