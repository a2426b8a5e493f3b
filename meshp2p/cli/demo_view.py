"""How the demo is shown: a picture that is drawn over on a terminal, plain lines elsewhere. ASCII and ANSI, no more."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import trio

from meshp2p.cli.demo_story import Act, Entry, Row, Story, Tone
from meshp2p.cli.output import OutputError, write_line

__all__ = ["LiveView", "PlainView", "View", "is_live_possible", "picture"]

FRAME_INTERVAL: Final = 0.1
"""Seconds between two pictures; one that is as the last is not drawn. Chosen, not measured."""

PLAIN_WIDTH: Final = 80
WHO_WIDTH: Final = 6
URLS_WIDTH_MIN: Final = 76
"""On a narrower terminal the URLs give way to who leads. Chosen, not measured."""

TEXT_HEIGHT_MIN: Final = 20
"""On a lower one the text of the act gives way to what happens. Chosen, not measured."""

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # the other screen, no cursor, no wrapping
LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
BEGIN_FRAME: Final = "\x1b[?2026h\x1b[H"  # drawn at once by terminals that know how
END_FRAME: Final = "\x1b[J\x1b[?2026l"
STYLES: Final = {"bold": "1", "dim": "2", "reverse": "7", "good": "32", "doubt": "33", "bad": "31", "result": "1;36"}
COLOURS: Final = ("good", "doubt", "bad", "result")

Line = list[tuple[str, str]]
"""Texts, each with the name of a style or an empty one."""


class View(Protocol):
    """Shows a story while :meth:`run` runs. ``is_live`` says whether a reader watches."""

    is_live: bool

    def open(self) -> contextlib.AbstractContextManager[None]: ...
    async def run(self) -> None: ...


class PlainView:
    """Prints each act and entry as a line. ``fail`` is told when nobody takes them any more."""

    is_live = False

    def __init__(self, story: Story, fail: Callable[[Exception], None]) -> None:
        self._story = story
        self._fail = fail

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        self._story.listener = self._show
        self._print([f"meshp2p demo, mesh {self._story.mesh}; times are seconds since the start"])
        try:
            yield
        finally:
            self._story.listener = lambda _: None

    async def run(self) -> None:
        await trio.sleep_forever()

    def _show(self, item: Act | Entry) -> None:
        if isinstance(item, Act):
            title = f"{self._story.act_index + 1}. {item.title}"
            text = textwrap.wrap(item.text, PLAIN_WIDTH, initial_indent="   ", subsequent_indent="   ")
            self._print(["", title, *text])
        else:
            self._print(["".join(text for text, _ in _entry_line(item))])

    def _print(self, lines: list[str]) -> None:
        try:
            write_line("\n".join(lines))
        except OutputError as error:
            self._fail(error)


class LiveView:
    """Draws the story on the terminal that is standard output, on its other screen, and gives it back as it was.

    The size is looked at for each picture. What is typed is not echoed; Ctrl-C and Ctrl-\\ end the demo, and Ctrl-Z
    does nothing: agents that go on while their demo is stopped would spoil what it measures.
    """

    is_live = True

    def __init__(self, story: Story, fail: Callable[[Exception], None]) -> None:
        self._story = story
        self._fail = fail
        self._has_colour = not os.environ.get("NO_COLOR")
        self._drawn = ""
        self._size = (0, 0)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        keyboard = _quieten_keyboard()
        try:
            _write(ENTER)
            yield
        finally:
            with contextlib.suppress(OSError):  # the terminal is gone: there is nothing to give back
                _write(LEAVE)
            _restore_keyboard(keyboard)

    async def run(self) -> None:
        """Draw until cancelled."""
        try:
            while True:
                self._draw()
                await trio.sleep(FRAME_INTERVAL)
        except OSError as error:
            self._fail(error)

    def _draw(self) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        width, height = size.columns or 80, size.lines or 24
        lines = picture(self._story, width, height)
        body = "\r\n".join(self._render(line, width) + "\x1b[K" for line in lines)
        if (width, height) != self._size:
            self._size, self._drawn = (width, height), ""
            body = "\x1b[2J" + body
        if body != self._drawn:
            self._drawn = body
            _write(BEGIN_FRAME + body + END_FRAME)

    def _render(self, line: Line, width: int) -> str:
        """The line in ANSI, cut to the width."""
        parts: list[str] = []
        for text, style in line:
            text = text[:width]
            width -= len(text)
            is_styled = style and text and (self._has_colour or style not in COLOURS)
            parts.append(f"\x1b[{STYLES[style]}m{text}\x1b[0m" if is_styled else text)
        return "".join(parts)


def picture(story: Story, width: int, height: int) -> list[Line]:
    """The story as it is now, in at most ``height`` lines; the width is that for which texts are wrapped."""
    head = f" meshp2p demo   mesh {story.mesh}"
    clock = f"{story.elapsed:.1f} s "
    lines: list[Line] = [[(head + clock.rjust(width - len(head)), "reverse")], _progress(story), []]
    has_urls = width >= URLS_WIDTH_MIN
    head_row = Row("agent", "state", "serves at", "says who leads", "sees", Tone.PLAIN, False)
    lines.extend(_row_line(row, has_urls) for row in (head_row, *story.rows()))
    lines.append([])
    if story.act is not None:
        number = f"{story.act_index + 1}/{len(story.acts)}"
        lines.append([(f"{number} {story.act.title}", "bold"), (f"   {story.act_elapsed:.1f} s", "dim")])
        if height >= TEXT_HEIGHT_MIN:
            lines.extend([(text, "")] for text in textwrap.wrap(story.act.text, max(20, min(width, 100) - 1)))
        lines.append([])
    room = height - len(lines)
    if room > 0:
        lines.extend(_entry_line(entry) for entry in story.entries[-room:])
    return lines[:height]


def is_live_possible() -> bool:
    """Whether standard output is a terminal that understands more than lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _progress(story: Story) -> Line:
    line: Line = [(" ", "")]
    for index, act in enumerate(story.acts):
        style = "reverse" if index == story.act_index else "good" if index < story.act_index else "dim"
        line.extend([(f" {act.word} ", style), (" ", "")])
    return line


def _row_line(row: Row, has_url: bool) -> Line:
    url = f"{row.url:24} " if has_url else ""
    text = f"{row.id:{WHO_WIDTH + 2}} {row.state:10} {url}{row.leader:17} {row.sees}"
    return [("* " if row.is_leader else "  ", "bold"), (text, "dim" if row.tone is Tone.PLAIN else row.tone.value)]


def _entry_line(entry: Entry) -> Line:
    style = "" if entry.tone is Tone.PLAIN else entry.tone.value
    return [(f"{entry.elapsed:7.2f}  ", "dim"), (f"{entry.who:{WHO_WIDTH}}  ", "bold"), (entry.text, style)]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _quieten_keyboard() -> list[Any] | None:
    """Stop the terminal from echoing; how it was before, or None where standard input is not ours to change."""
    try:
        descriptor = sys.stdin.fileno()
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return None  # in the background: to change the terminal would stop this process
        before = termios.tcgetattr(descriptor)
        quiet = termios.tcgetattr(descriptor)
        quiet[3] &= ~(termios.ECHO | termios.ICANON)
        quiet[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    except (OSError, ValueError, AttributeError, termios.error):
        return None
    return before


def _restore_keyboard(before: list[Any] | None) -> None:
    if before is not None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, before)
