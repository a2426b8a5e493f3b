"""What ``import meshp2p`` loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import meshp2p

OF_SOME_PROGRAMS = {"asyncio", "cryptography", "httpx", "spake2", "zeroconf"}


def loaded_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    return set(process.stdout.split())


def test_importing_meshp2p_loads_only_its_errors() -> None:
    loaded = loaded_by("import meshp2p")
    assert {name for name in loaded if name.startswith("meshp2p.")} == {"meshp2p.errors", "meshp2p.version"}
    assert {"dataclasses", "msgspec", "trio"}.isdisjoint(loaded)


def test_loading_the_node_does_not_load_what_only_some_programs_use() -> None:
    loaded = loaded_by("from meshp2p import open_node")
    assert "meshp2p.node.runner" in loaded
    assert OF_SOME_PROGRAMS.isdisjoint(loaded)


def test_the_client_does_not_load_the_node() -> None:
    loaded = loaded_by("from meshp2p import MeshClient")
    assert "meshp2p.client" in loaded
    assert {"meshp2p.core.machine", "meshp2p.net", "meshp2p.node.local_node", "meshp2p.threaded"}.isdisjoint(loaded)


def test_loading_the_node_collects_no_garbage_and_unfreezes_nothing() -> None:
    program = """
import gc
import trio

collected = []
gc.callbacks.append(lambda phase, info: collected.append(info["generation"]))
gc.collect()
collected.clear()
from meshp2p import open_node
tracked = [[] for _ in range(10)]
assert gc.isenabled()
print(*collected)
gc.freeze()
from meshp2p import MeshClient
assert gc.isenabled()
print(gc.get_freeze_count() > 0)
"""
    process = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert process.stdout.splitlines() == ["", "True"]


def test_each_name_is_loaded_from_where_type_checkers_see_it() -> None:
    """The table of lazy names says the same as the import statements that only type checkers read."""
    source = Path(meshp2p.__file__).read_text()
    program = source.replace("if TYPE_CHECKING:", "if True:").replace("if not TYPE_CHECKING:", "if False:")
    seen: dict[str, object] = {"__name__": "meshp2p"}
    exec(compile(program, meshp2p.__file__, "exec"), seen)
    for name in meshp2p.__all__:
        assert getattr(meshp2p, name) is seen[name], name
    assert set(meshp2p.__all__) <= set(dir(meshp2p))
