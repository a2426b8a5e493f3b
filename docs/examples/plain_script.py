"""A plain script: no async anywhere. Handlers run in threads of their own, the nodes in others."""

from __future__ import annotations

from meshp2p import NoHandler, blocking


def talk() -> None:
    with (
        blocking.open_node(id="worker", preset="local", port=0, mdns=False, capabilities=["sum"]) as worker,
        blocking.open_node(id="writer", preset="local", port=0, mdns=False, join=[str(worker.addresses[0])]) as writer,
    ):

        @worker.handler("TaskDelegation")
        def add(numbers: list[int]) -> int:
            return sum(numbers)

        writer.wait_for_members(2, timeout=10)
        print("leader:", writer.wait_for_leader(timeout=10).id)
        print("sum:", writer.delegate([1, 2, 3], capability="sum", timeout=10))

        writer.send("worker", {"text": "thank you"})
        for message in worker.inbox():
            print(f"{message.source} says:", message.payload["text"])
            message.acknowledge()
            break

        try:
            writer.query("worker", "which nobody handles")
        except NoHandler as error:
            print("no answer:", error)


if __name__ == "__main__":
    talk()
