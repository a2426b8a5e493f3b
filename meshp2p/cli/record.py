"""``meshp2p record``: take the flight recording of a node."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from meshp2p.cli.ask import add_node_options, open_client
from meshp2p.cli.output import printable, to_json_line, write_line
from meshp2p.client.node_requests import made
from meshp2p.errors import ConfigError
from meshp2p.recording.recording import Recording, load_recording

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    record = commands.add_parser(
        "record",
        description="Write what a node went through in the last minutes to a file, for `meshp2p simulate --replay`."
        " The node gives it to programs on its own machine and to admins. The file has the ids and addresses of all"
        " members, and no payloads.",
    )
    record.add_argument(
        "--save", type=Path, metavar="FILE", help="a file that does not exist yet (default: meshp2p-TIME.recording)"
    )
    add_node_options(record)
    record.set_defaults(run=lambda options: trio.run(_record, options))


async def _record(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        response = await client._requests.send("GET", "/recording", None)
    recording: Recording = made(response, lambda: load_recording(response.content))
    path: Path = options.save or Path(f"meshp2p-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.recording")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(response.content)
    except OSError as error:
        raise ConfigError(f"file {str(path)!r}: {error.strerror}; expected a new file that can be written") from error
    seconds = recording.segments[-1].now - recording.segments[0].now
    if options.json:
        write_line(to_json_line({"file": str(path), "node": recording.node_id, "seconds": seconds}))
    else:
        write_line(printable(f"{path}: the last {seconds:.0f} s of {recording.node_id}"))
        write_line(printable(f"to see what happened: meshp2p simulate --replay {path}"))
    return 0
