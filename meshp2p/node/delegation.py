"""A task that is delegated to some agent that can do it, until it has an end."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

import msgspec
import trio

from meshp2p.core.instance import ListedInstance
from meshp2p.core.randomness import Randomness
from meshp2p.errors import (
    ConfigError,
    ConnectionLost,
    DelegationFailed,
    DelegationState,
    DelegationTimeout,
    LocalProtocolError,
    MailboxFull,
    MeshError,
    RemoteError,
    UnknownInstance,
)
from meshp2p.node.handlers import TASK_CANCEL
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.received import TASK
from meshp2p.node.request_client import RequestClient
from meshp2p.node.subscriptions import Feed

__all__ = ["Delegating", "LocalDelegation", "ProgressReports", "Task", "choose_delegate"]

DECLINED: Final = "Declined"

CANCEL_TIMEOUT: Final = 2.0
"""Seconds in which an agent is told that its task is withdrawn, at most. Chosen, not measured."""

PROGRESS_MAX: Final = 64
"""Progress reports that wait to be read; then the oldest is dropped. Chosen, not measured."""


class Task(msgspec.Struct, frozen=True):
    """A task: its payload as JSON text that was checked, and the requirements for the instance that does it."""

    text: bytes
    capability: str | None
    profile: str | None
    waits: bool = False
    """Whether to wait for an instance if there is none."""
    includes_self: bool = False
    """Whether it may be this node."""
    trace: str | None = None
    """The trace context of the delegator."""


class Delegating:
    """The delegator's side of tasks.

    ``find`` returns the live instances that have a capability and a profile, ``wait_until`` waits for a condition on
    them, and ``want`` starts reading the mailbox, which receives the results.
    """

    def __init__(
        self,
        own_id: str,
        requests: RequestClient,
        find: Callable[[str | None, str | None], list[ListedInstance]],
        wait_until: Callable[[Callable[[], bool]], Awaitable[None]],
        want: Callable[[], None],
        random: Randomness,
    ) -> None:
        self._own_id = own_id
        self._requests = requests
        self._find = find
        self._wait_until = wait_until
        self._want = want
        self._random = random
        self._outstanding: dict[str, int] = {}
        self.under_way: dict[LocalDelegation, float] = {}
        """The open delegations, and when each began, by trio's clock."""

    def open(self, task: Task) -> contextlib.AbstractAsyncContextManager[LocalDelegation]:
        """Delegate a task for the duration of a block. The end of the block cancels the task if it has not ended.

        Raises :class:`~meshp2p.errors.ConfigError` if it names neither a capability nor a profile.
        """
        if task.capability is None and task.profile is None:
            raise ConfigError("delegation: expected a capability or a profile")
        self._want()
        return self._open(LocalDelegation(self, task))

    async def run(self, task: Task, timeout: float | None) -> bytes:
        """Delegate a task, and return its result; after ``timeout`` seconds it has failed."""
        async with self.open(task) as delegation:
            with trio.move_on_after(math.inf if timeout is None else timeout):
                return await delegation.result_text()
            delegation.expire(f"no result within {timeout:g} s")
            return await delegation.result_text()

    @contextlib.asynccontextmanager
    async def _open(self, delegation: LocalDelegation) -> AsyncIterator[LocalDelegation]:
        self.under_way[delegation] = trio.current_time()
        try:
            async with open_plain_nursery() as nursery:
                nursery.start_soon(delegation.run)
                yield delegation
                delegation.cancel()
        finally:
            del self.under_way[delegation]

    async def attempt(self, delegation: LocalDelegation, agent: str) -> bytes:
        """Ask one agent. On cancellation, the agent is told."""
        correlation_id = self._requests.new_id()
        self._outstanding[agent] = self._outstanding.get(agent, 0) + 1
        is_withdrawn = True
        put = delegation.reports.put
        try:
            task = delegation.task
            answer = await self._requests.ask(
                agent, task.text, TASK, correlation_id, handle_progress=put, trace=task.trace
            )
            is_withdrawn = False
            return answer
        except MeshError:
            is_withdrawn = False
            raise
        finally:
            self._outstanding[agent] -= 1
            if not self._outstanding[agent]:
                del self._outstanding[agent]
            if is_withdrawn:  # cancelled, which may come in a group
                await self._withdraw(agent, correlation_id)

    async def _withdraw(self, agent: str, correlation_id: str) -> None:
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + CANCEL_TIMEOUT),
            contextlib.suppress(LocalProtocolError),
        ):
            await self._requests.send(agent, b"null", TASK_CANCEL, correlation_id, math.inf, None)

    def choose(self, delegation: LocalDelegation) -> str | None:
        """Return the next instance to ask: see :func:`choose_delegate`."""
        return choose_delegate(self._fitting(delegation), delegation.tried, self._outstanding, self._random)

    async def wait_for_candidate(self, delegation: LocalDelegation) -> None:
        """Wait until an instance can do it that was not asked. Raises :class:`~meshp2p.errors.NodeClosed`."""
        await self._wait_until(lambda: any(one.id not in delegation.tried for one in self._fitting(delegation)))

    def _fitting(self, delegation: LocalDelegation) -> list[ListedInstance]:
        task = delegation.task
        found = self._find(task.capability, task.profile)
        return [instance for instance in found if task.includes_self or instance.id != self._own_id]


class ProgressReports(Feed[bytes]):
    """The progress reports of the agent that does a task, as JSON text. If there are too many, the oldest are
    dropped."""

    def __init__(self) -> None:
        super().__init__(())

    def put(self, event: bytes) -> bool:
        is_full = len(self._buffer) == PROGRESS_MAX
        if is_full:
            self._buffer.popleft()
        super().put(event)
        return is_full

    def close(self) -> None:
        """End this reader. Others continue."""


class LocalDelegation:
    """A task that some agent does. It has one end: see :class:`~meshp2p.errors.DelegationState`.

    If the agent dies, leaves or declines, the next one gets the task, so several agents may begin it. Late answers of
    agents that lost the task are discarded.
    """

    def __init__(self, delegating: Delegating, task: Task) -> None:
        self.task: Task = task
        self.state: DelegationState = DelegationState.RUNNING
        self.agent: str | None = None
        """The agent that does it now, or did it."""
        self.tried: list[str] = []
        self._delegating = delegating
        self.reports: ProgressReports = ProgressReports()
        self._result = b""
        self._failure: MeshError | None = None
        self._ended = trio.Event()
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Delegation {self.state} by {self.agent!r}>"

    async def run(self) -> None:
        """Run it to its end."""
        with self._scope:
            try:
                await self._run()
            except MeshError as error:  # this node left while it waited for somebody
                self._end(DelegationState.FAILED, error)
        self._end(DelegationState.CANCELLED, DelegationFailed(DelegationState.CANCELLED, "the task was cancelled"))

    async def _run(self) -> None:
        lost = ""
        while (agent := await self._next_agent()) is not None:
            self.agent = agent
            self.tried.append(agent)
            try:
                self._result = await self._delegating.attempt(self, agent)
            except (ConnectionLost, UnknownInstance, MailboxFull) as error:
                lost = str(error)
            except RemoteError as error:
                if error.kind != DECLINED:
                    self._end(DelegationState.FAILED, _failed(f"{agent!r} answered {error}"))
                    return
                lost = f"{agent!r} declined: {error.message}"
            except MeshError as error:  # of this node: it leaves, or its disk is full
                self._end(DelegationState.FAILED, error)
                return
            else:
                self._end(DelegationState.COMPLETED, None)
                return
        capability = self.task.capability
        what = f"capability {capability!r}" if capability is not None else f"profile {self.task.profile!r}"
        why = lost or f"no live instance has {what}"
        self._end(DelegationState.ORPHANED, DelegationFailed(DelegationState.ORPHANED, why))

    async def _next_agent(self) -> str | None:
        while (agent := self._delegating.choose(self)) is None and self.task.waits:
            await self._delegating.wait_for_candidate(self)
        return agent

    def _end(self, state: DelegationState, failure: MeshError | None) -> None:
        if not self._ended.is_set():
            self.state, self._failure = state, failure
            self._ended.set()
            self.reports.end()

    def fail(self, why: str) -> None:
        """End it as failed, and tell the agent."""
        self._give_up(_failed(why))

    def expire(self, why: str) -> None:
        """End it because its time is over, and tell the agent."""
        self._give_up(DelegationTimeout(DelegationState.FAILED, why))

    def _give_up(self, failure: MeshError) -> None:
        self._end(DelegationState.FAILED, failure)
        self._scope.cancel()

    def cancel(self) -> None:
        """Cancel the task. The agent is told, and its answer is discarded. Does nothing if the task has ended."""
        if not self._ended.is_set():
            self._scope.cancel()

    async def result_text(self) -> bytes:
        """Wait for the end, and return the result as JSON text.

        Raises :class:`DelegationFailed` if there is none, and :class:`~meshp2p.errors.NodeClosed` if the node left
        before.
        """
        await self._ended.wait()
        if self._failure is None:
            return self._result
        raise self._failure.with_traceback(None)


def _failed(why: str) -> DelegationFailed:
    return DelegationFailed(DelegationState.FAILED, why)


def choose_delegate(
    fitting: Iterable[ListedInstance], tried: list[str], outstanding: dict[str, int], random: Randomness
) -> str | None:
    """Return the instance to ask next: none twice, busy ones last, then the one with the fewest tasks from this node,
    then any. Return None if there is none."""
    ranked = [
        ((instance.status == "busy", outstanding.get(instance.id, 0)), instance.id)
        for instance in fitting
        if instance.id not in tried
    ]
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    return random.sample([instance_id for rank, instance_id in ranked if rank == best], 1)[0]
