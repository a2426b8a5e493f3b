"""Agents that continue whatever happens: they send, read, acknowledge, and register again when they are unknown."""

from __future__ import annotations

import random
from typing import Any, Final

import httpx
import trio

from simulations.chaos.ledger import Ledger

__all__ = ["Traffic"]

REQUEST_SECONDS: Final = 4.0
"""How long an agent waits for an answer before it asks another node."""
PROBE_SECONDS: Final = 1.0
"""The longest time in which a healthy node answers."""
STATUS_SECONDS: Final = 10.0
"""The longest time in which a sender's node hears of an acknowledgement. Chosen, not measured."""


class Traffic:
    """``urls`` are the nodes; ``recipients`` are their ids, and the ``hosted`` agents that register over HTTP."""

    def __init__(self, urls: dict[str, str], hosted: list[str], ledger: Ledger, draw: random.Random) -> None:
        self._urls = urls
        self._hosted = hosted
        self._ledger = ledger
        self._draw = draw
        self.is_sending: bool = True
        self._waiting: dict[str, int] = {}
        self.longest_wait: float = 0.0
        """The longest time for which no node answered an agent."""

    @property
    def recipients(self) -> list[str]:
        return [*self._urls, *self._hosted]

    @property
    def is_read(self) -> bool:
        """Whether everything that was accepted was read, and each mailbox was empty when it was read last: an
        acknowledgement whose answer was lost may have counted."""
        return not self._ledger.missing and not any(self._waiting.get(one, 1) for one in self.recipients)

    async def run(self) -> None:
        """Until it is cancelled."""
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=REQUEST_SECONDS, limits=limits) as client,
            trio.open_nursery() as nursery,
        ):
            for node in self._urls:
                nursery.start_soon(self._send, client, node, f"from-{node}")
                nursery.start_soon(self._probe, client, node)
            for recipient in self.recipients:
                nursery.start_soon(self._receive, client, recipient)
            for agent in self._hosted:
                nursery.start_soon(self._stay, client, agent)

    async def _ask(
        self, client: httpx.AsyncClient, method: str, url: str, body: object = None
    ) -> httpx.Response | None:
        try:
            return (
                await client.request(method, url, json=body) if body is not None else await client.request(method, url)
            )
        except httpx.HTTPError:
            return None

    async def _record_of(self, client: httpx.AsyncClient, recipient: str, node: str) -> tuple[str, int]:
        """The home and the incarnation of a recipient, as this node lists it; the home is empty if it does not answer,
        or lists none. Each move gives an agent a greater incarnation."""
        if recipient not in self._hosted:
            return recipient, 0
        answer = await self._ask(client, "GET", f"{self._urls[node]}/registry/agents/{recipient}")
        if answer is None or answer.status_code != 200:
            return "", 0
        home = str(answer.json()["home"])
        self._ledger.note_home(recipient, home, trio.current_time())
        return home, int(answer.json()["incarnation"])

    async def _probe(self, client: httpx.AsyncClient, node: str) -> None:
        """Let the ledger know when this node is well."""
        while True:
            began = trio.current_time()
            answer: httpx.Response | None = None
            with trio.move_on_after(PROBE_SECONDS):
                answer = await self._ask(client, "GET", f"{self._urls[node]}/registry/leader")
            self._ledger.contacts.note_probe(node, began, trio.current_time(), is_answered=answer is not None)
            await trio.sleep(0.2)

    async def _send(self, client: httpx.AsyncClient, node: str, source: str) -> None:
        """One source that sends at one node, one message after another."""
        number = 0
        while True:
            if self.is_sending:
                number += 1
                target = self._draw.choice(self.recipients)
                body = {"target_instance": target, "message_type": "Notification", "payload": [number, "x" * 200]}
                answer = await self._ask(client, "POST", f"{self._urls[node]}/messages/send/{source}", body)
                if answer is None:
                    self._ledger.tally.unanswered += 1
                elif answer.status_code == 200:
                    self._ledger.note_accepted(answer.json()["message_id"], target, trio.current_time())
                else:
                    self._ledger.tally.refused += 1
            await trio.sleep(0.02 + 0.1 * self._draw.random())

    async def _receive(self, client: httpx.AsyncClient, recipient: str) -> None:
        """Read at whichever node answers, and acknowledge at another."""
        last_answer = trio.current_time()
        while True:
            node = self._draw.choice([*self._urls])
            before = await self._record_of(client, recipient, node)
            answer = await self._ask(client, "GET", f"{self._urls[node]}/messages/{recipient}?wait=1&limit=50")
            if answer is not None and answer.status_code == 200:
                self.longest_wait = max(self.longest_wait, trio.current_time() - last_answer)
                last_answer = trio.current_time()
                messages = answer.json()["messages"]
                home = ""
                if any(self._ledger.is_acknowledged(message["message_id"]) for message in messages):
                    home = _home_of(before, await self._record_of(client, recipient, node))
                await self._take(client, recipient, messages, home, node)
            else:
                await trio.sleep(0.1)

    async def _take(
        self, client: httpx.AsyncClient, recipient: str, messages: list[dict[str, Any]], home: str, asked: str
    ) -> None:
        read = [(message["source_instance"], message["message_id"]) for message in messages]
        self._waiting[recipient] = len(read)
        self._ledger.note_read(recipient, read, home, trio.current_time(), asked)
        if read and self._draw.random() < 0.9:  # some crash between reading and acknowledging
            node = self._draw.choice([*self._urls])
            ids = [message_id for _, message_id in read]
            for _ in range(self._draw.choice([1, 1, 2])):  # some ask twice
                url = f"{self._urls[node]}/messages/ack/{recipient}"
                before = await self._record_of(client, recipient, node)
                answer = await self._ask(client, "POST", url, {"message_ids": ids})
                if answer is not None and answer.status_code == 204:
                    now = trio.current_time()
                    took = _home_of(before, await self._record_of(client, recipient, node))
                    self._ledger.note_acknowledged(ids, took, now, node)
                elif answer is not None:
                    self._ledger.tally.acknowledgements_refused += 1
                else:
                    self._ledger.tally.acknowledgements_unanswered += 1

    async def _stay(self, client: httpx.AsyncClient, agent: str) -> None:
        """Heartbeat at whichever node answers; register again if nobody knows the agent."""
        profile = {"instance_id": agent, "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}
        is_known = False
        while True:
            url = self._urls[self._draw.choice([*self._urls])]
            if is_known:
                answer = await self._ask(client, "POST", f"{url}/registry/heartbeat/{agent}", {"status": "ok"})
                is_known = answer is None or answer.status_code != 404
            else:
                answer = await self._ask(client, "POST", f"{url}/registry/register", profile)
                is_known = answer is not None and answer.status_code == 200
            await trio.sleep(2.0 if is_known else 0.3)

    async def unknown_statuses(self, sample: list[str]) -> list[str]:
        """Which of these messages no node can tell the status of, or that are not acknowledged, and why. The nodes have
        some seconds for each, since a sender hears of an acknowledgement later than the agent."""
        found: list[str] = []
        async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_SECONDS) as client:
            for message_id in sample:
                problem = "no answer"
                with trio.move_on_after(STATUS_SECONDS):
                    while problem := await self._problem_of(client, message_id):  # noqa: ASYNC110  # nodes have no event
                        await trio.sleep(0.2)
                if problem:
                    found.append(f"{message_id}: {problem}")
        return found

    async def _problem_of(self, client: httpx.AsyncClient, message_id: str) -> str:
        url = self._urls[self._draw.choice([*self._urls])]
        answer = await self._ask(client, "GET", f"{url}/messages/status/{message_id}")
        if answer is None or answer.status_code != 200:
            return "no answer" if answer is None else answer.text
        recipients = answer.json()["recipients"]
        return str(recipients) if any(one["status"] != "acknowledged" for one in recipients) else ""


def _home_of(before: tuple[str, int], after: tuple[str, int]) -> str:
    """The home of a recipient while something was asked, by what a node listed before it and after it; empty if it
    moved meanwhile, so that nobody knows which home answered."""
    return before[0] if before == after else ""
