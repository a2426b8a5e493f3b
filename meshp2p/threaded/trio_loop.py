"""One trio loop, and whether the caller is in it."""

from __future__ import annotations

import trio

from meshp2p.errors import WrongLoop

__all__ = ["TrioLoop"]


class TrioLoop:
    """The loop that runs now."""

    def __init__(self) -> None:
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()

    def check(self) -> None:
        """Raise :class:`~meshp2p.errors.WrongLoop` in another loop or thread."""
        try:
            if trio.lowlevel.current_trio_token() is self.token:
                return
        except RuntimeError:
            pass
        raise WrongLoop(
            "the node was opened in a trio loop that does not run here: use it there, from other threads with"
            " trio.from_thread.run(...), or open a node for any thread with meshp2p.blocking.open_node()"
        )
