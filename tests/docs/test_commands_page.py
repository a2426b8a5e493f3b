"""The page on the command line has every command with its options, in the words of the code.

``python tests/docs/test_commands_page.py`` writes them anew.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from meshp2p.cli.parser import make_parser, parsers_below

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
TABLE = re.compile(r"<!-- table: commands -->\n.*?<!-- end -->\n", re.DOTALL)


def render_command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The section of a command, and those of the commands below it."""
    yield f"### `{parser.prog}`\n\n{parser.description}\n"
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        shown = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
        if action.choices and action.metavar is None:
            shown = "{" + ",".join(map(str, action.choices)) + "}"
        names = [f"`{option} {shown}`".replace(" `", "`") for option in action.option_strings] or [f"`{shown}`"]
        what = (action.help or "") % vars(action)
        rows.append(
            f"| {', '.join(names)} | {what}{', required' if action.required and action.option_strings else ''} |"
        )
    if rows:
        yield "\n".join(["| | |", "|---|---|", *rows]) + "\n"
    for _, below in parsers_below(parser):
        yield from render_command(below)


def render(page: str) -> str:
    sections = "\n".join(part for _, parser in parsers_below(make_parser()) for part in render_command(parser))
    return TABLE.sub(lambda _: f"<!-- table: commands -->\n\n{sections}\n<!-- end -->\n", page)


def test_the_page_has_every_command_and_option() -> None:
    page = PAGE.read_text()
    assert TABLE.search(page)
    assert page == render(page), "run: PYTHONPATH=. python tests/docs/test_commands_page.py"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
