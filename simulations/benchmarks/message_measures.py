"""The measures of messages: the commands for the processes of one system, and the samples."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from simulations.benchmarks.message_parties import Parties, Party
from simulations.benchmarks.report import Run

__all__ = [
    "IN_FLIGHT",
    "PAGE",
    "SENDERS",
    "Amounts",
    "measure_http",
    "measure_mailbox",
    "measure_messages",
    "measure_requests",
    "measure_senders",
]

IN_FLIGHT: Final = 64
SENDERS: Final = 8
PAGE: Final = 100
_BATCH: Final = 256
"""The maximum number of messages that a recipient takes at once."""
_ACKNOWLEDGEMENTS_MAX: Final = 50
_MILLISECONDS: Final = 1e3
_MICROSECONDS: Final = 1e6


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """The amounts of one repeat. Chosen, not measured."""

    sequential: int = 2_000
    in_flight: int = 8_000
    paced: int = 300
    interval: float = 0.02
    pending: tuple[int, ...] = (10, 1_000, 10_000)
    throughput: int = 2_000
    requests: int = 1_000


async def measure_messages(parties: Parties, run: Run, amounts: Amounts) -> None:
    """Measure rates of publishing, and how long a message takes from one process to another."""
    recipient, sender = parties.recipient, parties.sender
    await _exchange(recipient, [sender], 100, 1)  # all that is done once is done
    count = amounts.sequential
    sent = await sender.do("send", count=count, window=1)
    run.add("publish", count / (sent["ended"] - sent["began"]))
    await recipient.do("await_pending", count=count)
    await recipient.do("clear", count=count)
    run.add("publish_acknowledged", await _exchange(recipient, [sender], count, 1))
    spent = parties.processor_seconds()
    run.add("in_flight", await _exchange(recipient, [sender], amounts.in_flight, IN_FLIGHT))
    run.add("processor", _MICROSECONDS * (parties.processor_seconds() - spent) / amounts.in_flight)
    await _pace(recipient, sender, run, amounts, "handed")


async def measure_senders(parties: Parties, run: Run, amounts: Amounts) -> None:
    """Measure the rate of several senders. They stay, because the cost of their end is not measured."""
    senders = [await parties.open(f"sender-{number}", "sender") for number in range(SENDERS)]
    run.add("in_flight_many", await _exchange(parties.recipient, senders, amounts.in_flight, IN_FLIGHT // SENDERS))


async def measure_http(parties: Parties, run: Run, amounts: Amounts) -> None:
    """Measure how long a message takes from one process to another if both use their nodes over HTTP."""
    clients = []
    for node, name in ((parties.recipient, "recipient"), (parties.sender, "sender")):
        clients.append(await parties.open(name, "sender", courier="mesh-http", address=node.address))
    recipient, sender = clients
    await _exchange(recipient, [sender], 100, 1)
    await _pace(recipient, sender, run, amounts, "http")
    for party in clients:
        parties.close(party)


async def measure_mailbox(parties: Parties, run: Run, amounts: Amounts) -> None:
    """Measure the cost of reading and acknowledging while this many messages wait."""
    recipient, sender = parties.recipient, parties.sender
    for pending in amounts.pending:
        await sender.do("send", count=pending, window=IN_FLIGHT)
        await recipient.do("await_pending", count=pending)
        pages = await recipient.do("read_pages", limit=PAGE, pending=pending)
        run.add(f"page_{pending}", _MILLISECONDS * statistics.median(pages["took"]))
        await recipient.do("clear", count=pending)

        await sender.do("send", count=pending, window=IN_FLIGHT)
        await recipient.do("await_pending", count=pending)
        acknowledged = min(pending // 2, _ACKNOWLEDGEMENTS_MAX)
        took = await recipient.do("acknowledge_each", count=acknowledged)
        run.add(f"acknowledge_{pending}", _MILLISECONDS * statistics.median(took["took"]))
        await recipient.do("clear", count=pending - acknowledged)

        await sender.do("send", count=pending, window=IN_FLIGHT)
        run.add(f"throughput_{pending}", await _exchange(recipient, [sender], amounts.throughput, IN_FLIGHT, PAGE))
        await recipient.do("await_pending", count=pending)
        await recipient.do("clear", count=pending)


async def measure_requests(parties: Parties, run: Run, amounts: Amounts) -> None:
    """Measure round trips of request and reply."""
    warm_up = 50
    parties.recipient.tell("answer", count=amounts.requests + warm_up)
    await parties.recipient.wait_for("begun")
    await parties.sender.do("ask", count=warm_up)
    spent = parties.processor_seconds()
    asked = await parties.sender.do("ask", count=amounts.requests)
    run.add("request_processor", _MICROSECONDS * (parties.processor_seconds() - spent) / amounts.requests)
    await parties.recipient.wait_for("done")
    _add_percentiles(run, "request", asked["took"])


async def _exchange(recipient: Party, senders: Sequence[Party], count: int, window: int, limit: int = _BATCH) -> float:
    """Let ``senders`` send ``count`` messages together, each with ``window`` in flight, while the recipient takes and
    acknowledges them. Return messages per second, from the first that was sent to the last that was acknowledged."""
    each = count // len(senders)
    recipient.tell("consume", count=each * len(senders), limit=limit)
    await recipient.wait_for("begun")
    began: list[float] = []

    async def send(sender: Party) -> None:
        began.append((await sender.do("send", count=each, window=window))["began"])

    async with trio.open_nursery() as nursery:
        for sender in senders:
            nursery.start_soon(send, sender)
    ended: float = (await recipient.wait_for("done"))["ended"]
    return each * len(senders) / (ended - min(began))


async def _pace(recipient: Party, sender: Party, run: Run, amounts: Amounts, key: str) -> None:
    recipient.tell("consume", count=amounts.paced, limit=_BATCH)
    await recipient.wait_for("begun")
    await sender.do("pace", count=amounts.paced, interval=amounts.interval)
    _add_percentiles(run, key, (await recipient.wait_for("done"))["delays"])


def _add_percentiles(run: Run, key: str, seconds: Sequence[float]) -> None:
    percentiles = statistics.quantiles(seconds, n=100, method="inclusive")
    run.add(f"{key}_p50", _MILLISECONDS * percentiles[49])
    run.add(f"{key}_p99", _MILLISECONDS * percentiles[98])
