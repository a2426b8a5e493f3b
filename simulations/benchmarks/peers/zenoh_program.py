"""One zenoh peer with a liveliness token. Commands are lines, as for ``node_program``: ``begin``, ``status TEXT``,
``leave``. A token stands for a member; a status is a published value.

With ``--scout`` peers find one another only by zenoh's own multicast.
"""

from __future__ import annotations

import json
from typing import Any

import zenoh

from simulations.benchmarks.lines import tell
from simulations.benchmarks.peers.commands import make_parser, obey

PORT = 7447


class Agent:
    """Runs the session, several times if told so."""

    def __init__(self, node_id: str, host: str, join: str | None, *, scouts: bool) -> None:
        self._id = node_id
        self._config = {
            "mode": "peer",
            "listen/endpoints": [f"tcp/{host}:{PORT}"],
            "connect/endpoints": [f"tcp/{join}"] if join else [],
            "connect/retry": {"period_init_ms": 100, "period_max_ms": 1000, "period_increase_factor": 2},
            "scouting/multicast/enabled": scouts,
        }
        self._session: Any = None
        self._held: list[Any] = []

    def begin(self) -> None:
        config = zenoh.Config()
        for key, value in self._config.items():
            config.insert_json5(key, json.dumps(value))
        session = self._session = zenoh.open(config)
        self._held = [
            session.liveliness().declare_subscriber("member/*", self._note_token, history=True),
            session.declare_subscriber("status/*", self._note_status),
            session.liveliness().declare_token(f"member/{self._id}"),
        ]

    def _note_token(self, sample: Any) -> None:
        member = str(sample.key_expr).rpartition("/")[2]
        if member != self._id:
            tell("joined" if sample.kind == zenoh.SampleKind.PUT else "gone", member)

    def _note_status(self, sample: Any) -> None:
        tell("updated", str(sample.key_expr).rpartition("/")[2], sample.payload.to_string())

    def set_status(self, text: str) -> None:
        self._session.put(f"status/{self._id}", text)

    def leave(self) -> None:
        for declared in reversed(self._held):
            declared.undeclare()
        self._session.close()
        tell("left")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--scout", action="store_true")
    options = parser.parse_args()
    obey(Agent(options.id, options.host, options.join, scouts=options.scout))


if __name__ == "__main__":
    main()
