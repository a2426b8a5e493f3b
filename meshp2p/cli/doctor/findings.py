"""What the doctor found, in the order found."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["IS_BROKEN", "IS_OK", "IS_WARNING", "Check", "Findings", "SeenNode"]

State = Literal["ok", "warning", "broken"]
IS_OK: Final[State] = "ok"
IS_WARNING: Final[State] = "warning"
IS_BROKEN: Final[State] = "broken"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``hint`` is what to do about it."""

    name: str
    state: State
    text: str
    hint: str = ""


class SeenNode(msgspec.Struct):
    """A node of the mesh that some source told of, or that answered. ``is_here``: on this machine."""

    id: str | None
    addresses: list[str]
    sources: list[str]
    is_reachable: bool = False
    is_here: bool = False


class Findings:
    """Checks and nodes."""

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.nodes: list[SeenNode] = []
        self.other_tags: set[bytes] = set()
        """Of meshes of other names that were heard by the beacon; empty for one whose tag is not known."""
        self.other_names: set[str] = set()
        """Of those that were seen by mDNS."""

    def note(self, name: str, state: State, text: str, hint: str = "") -> None:
        """Add a check. The hint of one that is well is left out."""
        self.checks.append(Check(name, state, text, hint if state != IS_OK else ""))

    @property
    def broken(self) -> list[Check]:
        return [check for check in self.checks if check.state == IS_BROKEN]

    @property
    def is_well(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def others(self) -> list[SeenNode]:
        """The nodes of other machines that answer."""
        return [node for node in self.nodes if node.is_reachable and not node.is_here]

    @property
    def reachable(self) -> int:
        return sum(node.is_reachable for node in self.nodes)

    @property
    def other_meshes(self) -> int:
        """How many meshes of other names were noticed, at least."""
        return max(len(self.other_names), len(self.other_tags - {b""}), b"" in self.other_tags)
