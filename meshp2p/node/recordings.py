"""The flight recorder of a node: records its machine, and writes a file when something happened that needs a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import trio

from meshp2p.core.effects import Effect
from meshp2p.core.events import ContactLost, Event, IdConflictLost, InstanceDied
from meshp2p.errors import StoreError, Unreachable
from meshp2p.net.supervised import SupervisedMachine
from meshp2p.node.platform import Disk
from meshp2p.recording.recorder import RecordedMachine, Recorder
from meshp2p.recording.recording import dump_recording

__all__ = ["NodeMachine", "Recordings"]

_log = logging.getLogger("meshp2p.node")

AFTER_SECONDS: Final = 5.0
"""How long the node waits after the reason for a recording, so that it has what came of it. Chosen, not measured."""

PAUSE_SECONDS: Final = 60.0
"""The shortest time between two recordings. Chosen, not measured."""

END_SECONDS: Final = 1.0
"""How long a node that ends waits for its last recording to be written. Chosen, not measured."""


class NodeMachine(SupervisedMachine, RecordedMachine):
    """The machine of a node: it survives inputs that raise an error, and is recorded. ``note_fault()`` is called after
    it began anew."""

    def __init__(self, *arguments: Any, note_fault: Callable[[], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._note_fault = note_fault

    def rebuild(self, now: float) -> list[Effect]:
        effects = super().rebuild(now)
        self._note_fault()
        return effects


class Recordings:
    """Writes recordings of a machine to the disk of its node, if it has one: after another node died, after this node
    lost its id or the contact with all others, and after a fault of its own.

    ``written`` and ``failed`` count files.
    """

    def __init__(self, recorder: Recorder, disk: Disk | None, wall_ms: Callable[[], int]) -> None:
        self.recorder = recorder
        self.written: int = 0
        self.failed: int = 0
        self._disk = disk
        self._wall_ms = wall_ms
        self._machine: RecordedMachine | None = None
        self._reason = ""
        self._asked = trio.Event()

    def note(self, event: Event) -> None:
        """Write a recording soon, if this is a reason for one."""
        match event:
            case InstanceDied(record=record) if record.is_node:
                self._ask("death")
            case IdConflictLost():
                self._ask("id-conflict")
            case ContactLost():
                self._ask("lost-contact")
            case _:
                pass

    def note_fault(self) -> None:
        """Write a recording soon, because the machine raised an error."""
        self._ask("fault")

    def _ask(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._asked.set()

    def take(self, reason: str) -> bytes:
        """Return what was recorded until now, as the content of a file. Raises :class:`Unreachable` if there is
        nothing."""
        machine = self._machine
        taken = None if machine is None else self.recorder.take(machine, reason, trio.current_time())
        if taken is None:
            raise Unreachable(f"this node has no recording now: {self.recorder.pause}")
        return dump_recording(taken)

    async def run(self, machine: RecordedMachine) -> None:
        """Write recordings until cancelled. The last one is written at the end."""
        self._machine = machine
        try:
            while True:
                await self._asked.wait()
                await trio.sleep(AFTER_SECONDS)
                await self._write()
                await trio.sleep(PAUSE_SECONDS - AFTER_SECONDS)
        finally:
            if self._reason:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + END_SECONDS):
                    await self._write()

    async def _write(self) -> None:
        reason, self._reason, self._asked = self._reason, "", trio.Event()
        if self._disk is None:
            return
        at = datetime.fromtimestamp(self._wall_ms() / 1000, UTC)
        name = f"{at:%Y%m%dT%H%M%SZ}-{reason}.recording"
        try:
            await self._disk.save_recording(name, self.take(reason))
        except Unreachable as error:
            _log.debug("%s", error)
        except StoreError as error:
            (_log.debug if self.failed else _log.warning)("%s", error)
            self.failed += 1
        else:
            _log.info("what happened until now is in the recording %s", name)
            self.written += 1
