"""What changed in a member since its last event."""

from __future__ import annotations

from typing import Final

from meshp2p.cli.output import to_json_line
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import MemberDiedEvent, MemberLeftEvent, MemberUpdatedEvent, MeshEvent, SnapshotEvent

__all__ = ["Changes"]

_COMPARED: Final = (
    *("capabilities", "agent_profiles", "status", "metrics", "hostname", "port", "home", "addresses", "epoch"),
)
_VALUE_MAX: Final = 100  # characters: chosen, not measured


class Changes:
    """The members, as the events until now showed them."""

    def __init__(self) -> None:
        self._known: dict[str, InstanceDetail] = {}

    def text_of(self, event: MeshEvent) -> str:
        """Take the next event, and return what to append to its text: the new values, if a member was updated."""
        if isinstance(event, SnapshotEvent):
            self._known = {member.instance_id: member for member in event.members}
        instance = getattr(event, "instance", None)
        if not isinstance(instance, InstanceDetail):
            return ""
        before = self._known.pop(instance.instance_id, None)
        if not isinstance(event, MemberDiedEvent | MemberLeftEvent):
            self._known[instance.instance_id] = instance
        if before is None or not isinstance(event, MemberUpdatedEvent):
            return ""
        values = [(name, getattr(instance, name)) for name in _COMPARED]
        changed = [
            f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values if value != getattr(before, name)
        ]
        return f": {'; '.join(changed) or 'published again'}"


def _shown(value: object) -> str:
    text = to_json_line(value)
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}..."
