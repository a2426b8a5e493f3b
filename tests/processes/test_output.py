"""Standard output that fails, signals, and what a command line is started with."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.processes.mesh_processes import ROOT, Up, open_ups

ALONE = ("--no-mdns", "--port", "0")
MESHP2P = [sys.executable, "-m", "meshp2p"]


@contextmanager
def a_closed_pipe() -> Iterator[int]:
    read_end, write_end = os.pipe()
    os.close(read_end)
    yield write_end
    os.close(write_end)


@contextmanager
def a_full_device() -> Iterator[int]:
    full = os.open("/dev/full", os.O_WRONLY)
    yield full
    os.close(full)


@contextmanager
def a_terminal_that_is_gone() -> Iterator[int]:
    ours, theirs = os.openpty()
    os.close(ours)
    yield theirs
    os.close(theirs)


@contextmanager
def a_full_pipe_that_does_not_block() -> Iterator[int]:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    while True:
        try:
            os.write(write_end, b"x" * 1024)
        except BlockingIOError:
            break
    yield write_end
    os.close(read_end)
    os.close(write_end)


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


async def start(*arguments: str, stdout: int, **variables: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        [*MESHP2P, *arguments], stdout=stdout, stderr=subprocess.PIPE, env=environment(**variables)
    )


async def read_all(stream: trio.abc.ReceiveStream | None) -> str:
    assert stream is not None
    async with stream:
        return b"".join([bytes(data) async for data in stream]).decode()


@pytest.mark.parametrize(
    "broken",
    [
        a_closed_pipe,
        pytest.param(a_full_device, marks=pytest.mark.long),
        pytest.param(a_terminal_that_is_gone, marks=pytest.mark.long),
    ],
)
async def test_a_node_goes_on_if_its_output_fails_and_warns_once(broken: type) -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            join = first.ready["addresses"][0]
            with broken() as stdout:
                process = await start("up", *ALONE, "--id", "b", "--join", join, stdout=stdout)
            await first.until_sees("a", "b")
            other: Up = await up(*ALONE, "--id", "c", "--join", join)  # more lines that cannot be written
            await other.until_sees("a", "b", "c")
            await other.end(signal.SIGTERM)
            await first.until_sees("a", "b")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            await first.until_sees("a")
            assert first.words("b")[-1] == "left"
            said = await read_all(process.stderr)
            assert said.count("\n") == 1
            assert said.startswith("meshp2p: standard output cannot be written: ")


async def test_a_node_whose_output_is_closed_from_the_start_goes_on() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            arguments = [*MESHP2P, "up", *ALONE, "--id", "b", "--join", first.ready["addresses"][0]]
            process = await trio.lowlevel.open_process(
                ["sh", "-c", 'exec "$@" >&-', "sh", *arguments], stderr=subprocess.PIPE, env=environment()
            )
            await first.until_sees("a", "b")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert "it is closed" in await read_all(process.stderr)


async def test_events_are_printed_and_not_logged_as_well() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            arguments = ("--id", "b", "--log-level", "info", "--join", first.ready["addresses"][0])
            process = await start("up", *ALONE, *arguments, stdout=subprocess.PIPE)
            assert process.stdout is not None
            printed = b""
            while b"joined a\n" not in printed:
                printed += await process.stdout.receive_some()
            await first.until_sees("a", "b")
            process.send_signal(signal.SIGTERM)
            printed += (await read_all(process.stdout)).encode()
            logged = await read_all(process.stderr)
            assert await process.wait() == 0
            assert printed.splitlines().count(b"joined a") == 1
            assert "oined" not in logged


async def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            with a_full_pipe_that_does_not_block() as stdout:
                process = await start("up", *ALONE, "--id", "b", "--join", first.ready["addresses"][0], stdout=stdout)
                await first.until_sees("a", "b")
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            assert await read_all(process.stderr) == ""


async def test_a_hang_up_leaves_the_mesh_unless_it_is_ignored() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            join = first.ready["addresses"][0]
            other: Up = await up(*ALONE, "--id", "b", "--join", join)
            await first.until_sees("a", "b")
            assert await other.end(signal.SIGHUP) == 0
            await first.until_sees("a")
            assert first.words("b")[-1] == "left"
            arguments = [*MESHP2P, "up", *ALONE, "--id", "c", "--join", join]
            process = await trio.lowlevel.open_process(
                ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(),
            )
            await first.until_sees("a", "c")
            process.send_signal(signal.SIGHUP)
            d: Up = await up(*ALONE, "--id", "d", "--join", join)
            await d.until_sees("a", "c", "d")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert await read_all(process.stderr) == ""


async def test_a_list_is_printed_whole_where_the_encoding_lacks_a_character() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            second: Up = await up(*ALONE, "--id", "maître-é", "--join", first.ready["addresses"][0])
            third: Up = await up(*ALONE, "--id", "ÿ", "--join", first.ready["addresses"][0])
            await third.until(lambda one: one.listed == {"a", "maître-é", "ÿ"})
            await first.until(lambda one: one.listed == {"a", "maître-é", "ÿ"})
            finished = await trio.run_process(
                [*MESHP2P, "agents", "--node", first.ready["url"]],
                capture_stdout=True,
                env=environment(PYTHONIOENCODING="ascii"),
            )
            lines = finished.stdout.decode("ascii").splitlines()
            assert [line[2:].split()[0] for line in lines] == ["ID", "a", r"ma\xeetre-\xe9", r"\xff"]
            assert second.ready["id"] == "maître-é"


@pytest.mark.parametrize("broken", [a_closed_pipe, a_full_device])
async def test_a_command_that_cannot_print_says_so_in_one_line(broken: type) -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            for command in ("agents", "leader"):
                with broken() as stdout:
                    process = await start(command, "--node", first.ready["url"], stdout=stdout)
                assert await process.wait() == 1
                said = await read_all(process.stderr)
                assert said.count("\n") == 1
                assert said.startswith("meshp2p: standard output cannot be written: ")


async def test_ctrl_c_ends_a_command_with_130_and_no_word() -> None:
    with trio.fail_after(100):
        async with open_ups() as up:
            first: Up = await up(*ALONE, "--id", "a")
            process = await start(
                "messages", "nobody", "--wait", "60", "--node", first.ready["url"], stdout=subprocess.DEVNULL
            )
            while not is_connected(process.pid):  # noqa: ASYNC110  # nothing tells when another process connects
                await trio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            assert await read_all(process.stderr) == ""


def is_connected(pid: int) -> bool:
    """Whether a process has an established TCP connection."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            sockets.add(str(entry.readlink()))
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return any(fields[3] == "01" and f"socket:[{fields[9]}]" in sockets for fields in map(str.split, lines))


async def test_on_a_terminal_a_node_says_that_it_looks_for_others_until_it_serves() -> None:
    ours, theirs = os.openpty()
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            [*MESHP2P, "up", "--id", "one", *ALONE], stdout=theirs, stderr=theirs, env=environment()
        )
        os.close(theirs)
        text = b""
        async with trio.lowlevel.FdStream(ours) as screen:
            while b"leader is one" not in text:
                text += await screen.receive_some()
            process.send_signal(signal.SIGINT)
            while b"left the mesh" not in text:
                text += await screen.receive_some()
        assert await process.wait() == 0
    looking, _, rest = text.partition(b"\r\x1b[Knode one of mesh")
    assert looking.startswith(b"\r\x1b[Klooking for other nodes (0 s)")
    assert b"looking" not in rest


async def test_variables_that_kubernetes_sets_are_ignored_and_other_unknown_ones_are_refused() -> None:
    kubernetes = {
        "MESHP2P_SERVICE_HOST": "10.96.0.17",
        "MESHP2P_SERVICE_PORT": "7700",
        "MESHP2P_SERVICE_PORT_HTTP": "7700",
        "MESHP2P_PORT": "tcp://10.96.0.17:7700",
        "MESHP2P_PORT_7700_TCP": "tcp://10.96.0.17:7700",
        "MESHP2P_PORT_7700_TCP_PROTO": "tcp",
        "MESHP2P_PORT_7700_TCP_PORT": "7700",
        "MESHP2P_PORT_7700_TCP_ADDR": "10.96.0.17",
        "MESHP2P_BACKUP_SERVICE_HOST": "10.96.0.18",
        "MESHP2P_BACKUP_PORT": "udp://10.96.0.18:7700",
    }
    with trio.fail_after(100):
        process = await start("up", "--no-mdns", "--json", stdout=subprocess.PIPE, **kubernetes)
        assert process.stdout is not None
        assert b'"type":"ready"' in await process.stdout.receive_some()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        await process.stdout.aclose()
        assert await read_all(process.stderr) == ""
        process = await start("up", "--no-mdns", stdout=subprocess.DEVNULL, MESHP2P_PROT="1")
        assert await process.wait() == 2
        assert "did you mean 'MESHP2P_PORT'" in await read_all(process.stderr)
