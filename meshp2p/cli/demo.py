"""``meshp2p demo``: a small mesh on this machine, at work."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from typing import Any

import trio

from meshp2p.cli.demo_acts import ACTS, Play
from meshp2p.cli.demo_agents import Agents, DemoFailed
from meshp2p.cli.demo_story import Story, show_seconds
from meshp2p.cli.demo_view import LiveView, PlainView, View, is_live_possible
from meshp2p.cli.output import OutputError, write_line

__all__ = ["add_commands"]

PAUSE_LIVE = 2.0
"""Seconds that a reader gets after each act. Chosen, not measured."""

PAUSE_MAX = 10.0
"""More, and the agent that speaks HTTP would time out while the reader reads."""

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def add_commands(commands: Any) -> None:
    demo = commands.add_parser("demo", help="show a small mesh on this machine, at work", allow_abbrev=False)
    demo.add_argument("--plain", action="store_true", help="print lines, on a terminal too")
    demo.add_argument(
        "--pause",
        type=_pause,
        metavar="SECONDS",
        help=f"time to read after each act, 0 to {PAUSE_MAX:g} ({PAUSE_LIVE:g} on a terminal, else 0)",
    )
    demo.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Play the demo. 0: all was shown; 1: it was not, and why; 128 and its number where a signal ended it."""
    return trio.run(_demo, options)


class _Ending:
    """How the demo ends, if not by itself: the first that comes counts."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.failure: Exception | None = None
        self.signal_number = 0

    def fail(self, error: Exception) -> None:
        if self.failure is None and not self.signal_number:
            self.failure = error
        self.scope.cancel()

    async def wait_for_signal(
        self, numbers: list[signal.Signals], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(*numbers) as received:
            task_status.started()
            async for number in received:
                self.signal_number = self.signal_number or number
                self.scope.cancel()


async def _demo(options: argparse.Namespace) -> int:
    story = Story(f"demo-{secrets.token_hex(3)}", ACTS)  # no other mesh, nor another demo, has this name
    ending = _Ending()
    view: View = (PlainView if options.plain or not is_live_possible() else LiveView)(story, ending.fail)
    pause = (PAUSE_LIVE if view.is_live else 0.0) if options.pause is None else options.pause
    # What whoever started us ignores (nohup) stays ignored.
    numbers = [number for number in ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    agents: Agents | None = None
    async with trio.open_nursery() as watch:
        await watch.start(ending.wait_for_signal, numbers)
        with view.open():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(view.run)
                agents = Agents(story, nursery, ending.fail)
                with ending.scope:
                    try:
                        await Play(agents, pause).run()
                    except DemoFailed as failure:
                        ending.fail(failure)
                nursery.cancel_scope.cancel()
        watch.cancel_scope.cancel()
    return _conclude(story, agents, ending)


def _conclude(story: Story, agents: Agents, ending: _Ending) -> int:
    """Print what was measured, or what went wrong, and return the exit code."""
    if ending.signal_number:
        print("meshp2p demo: interrupted; its agents were killed", file=sys.stderr)
        return 128 + ending.signal_number
    match ending.failure:
        case None:
            write_line(f"\nAll {len(story.acts)} acts went as they should. What was measured on this machine:\n")
            for measured in story.measured:
                write_line(f"  {show_seconds(measured.seconds):>7}  {measured.what}")
            return 0
        case DemoFailed():
            act = "" if story.act is None else f" in act {story.act_index + 1} ({story.act.title.lower()})"
            print(f"meshp2p demo: failed{act}: {ending.failure}", file=sys.stderr)
            for instance_id, agent in sorted(agents.by_id.items()):
                for line in agent.stderr:
                    print(f"  {instance_id} said: {line}", file=sys.stderr)
            return 1
        case OSError() as error:
            raise OutputError(error.strerror or str(error)) from error
        case failure:
            raise failure


def _pause(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= PAUSE_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds from 0 to {PAUSE_MAX:g}")
    return seconds
