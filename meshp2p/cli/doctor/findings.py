"""The findings of the doctor, in the order in which it made them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["IS_BROKEN", "IS_OK", "IS_WARNING", "Check", "Findings", "SeenNode", "State"]

State = Literal["ok", "warning", "broken"]
IS_OK: Final[State] = "ok"
IS_WARNING: Final[State] = "warning"
IS_BROKEN: Final[State] = "broken"


class Check(msgspec.Struct, frozen=True):
    """One result of a check. ``hint`` is what to do about it."""

    name: str
    state: State
    text: str
    hint: str = ""


class SeenNode(msgspec.Struct):
    """A node of the mesh that some source offered, or that answered. ``is_here``: it runs on this machine."""

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
        self.members: set[str] = set()
        """The ids that are announced as nodes of the secured mesh. Anybody can announce them."""
        self.other_tags: set[bytes] = set()
        """Tags of other meshes that the beacon heard; an empty one stands for a mesh whose tag is not known."""
        self.other_names: set[str] = set()
        """Names of other meshes that mDNS showed."""

    def note(self, name: str, state: State, text: str, hint: str = "") -> None:
        """Add a result. It gets no hint if it is ok."""
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
        """The least number of other meshes that explains what was noticed."""
        return max(len(self.other_names), len(self.other_tags - {b""}), b"" in self.other_tags)
