"""A disk that is full: nothing of what does not fit is kept, and once there is room the store goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

PROGRAM = """
import sys
from pathlib import Path
from meshp2p.core.effects import Delete, Put, Table
from meshp2p.errors import StoreFull
from meshp2p.store.messages import MessageStore

directory = Path(sys.argv[1])
value = bytes(range(256)) * 4

def put(number):
    return Put(Table.OUTGOING, number.to_bytes(4, "big"), value)

def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            pass

store = MessageStore(directory / "m")
store.load()
kept = 0
try:
    while True:
        store.apply([(put(2 * kept), put(2 * kept + 1))])
        kept += 1
except StoreFull:
    print("full")
store.close()

store = MessageStore(directory / "m")
assert len(store.load()) == 2 * kept, (len(store.load()), kept)
store.close()
(directory / "m").unlink()

store = MessageStore(directory / "m")
store.load()
for number in range(300):
    store.apply([(put(number),)])
store.close()
store = MessageStore(directory / "m")
store.load()
for number in range(100):
    store.apply([(Delete(Table.OUTGOING, number.to_bytes(4, "big")),)])
fill(directory / "of another program")
for number in range(100, 300):  # in the room that the log has: it begins anew
    store.apply([(Delete(Table.OUTGOING, number.to_bytes(4, "big")),)])
store.close()
store = MessageStore(directory / "m")
assert store.load() == []
print("done")
"""


@pytest.mark.slow
async def test_on_a_full_disk_nothing_is_half_kept_and_room_that_the_store_has_is_used(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=8m none "{tmp_path}" && exec "$@" "{tmp_path}"'
    try:
        await trio.run_process(["unshare", "--mount", "true"], capture_stderr=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs to mount a disk of its own (root, unshare of util-linux): {error}")
    ended = await trio.run_process(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", PROGRAM], capture_stdout=True
    )
    assert ended.stdout.split() == [b"full", b"done"]
