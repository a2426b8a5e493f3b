"""``meshp2p record``: take the flight recording of a node."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from meshp2p.cli.ask import open_client
from meshp2p.cli.output import printable, to_json_line, write_line
from meshp2p.client.node_requests import made
from meshp2p.errors import ConfigError
from meshp2p.recording.recording import Recording, load_recording

__all__ = ["record"]


async def record(options: argparse.Namespace) -> int:
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
