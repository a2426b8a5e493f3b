"""Real processes on this machine: they find one another, crash, come back and leave."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from pathlib import Path

import httpx
import pytest
import trio

from meshp2p.cli import main
from tests.processes.mesh_processes import Up, command, open_ups, refuse

ALONE = ("--no-mdns", "--port", "0")


@pytest.fixture
def mesh() -> str:
    """A name that no other test uses, nor another run of this one on the same machine at the same time."""
    return f"test-{secrets.token_hex(8)}"


async def all_see(ups: list[Up], *ids: str) -> None:
    async with trio.open_nursery() as nursery:
        for up in ups:
            nursery.start_soon(up.until_sees, *ids)


@pytest.mark.slow
async def test_five_processes_find_one_another_by_mdns_and_follow_a_leader_that_was_killed(mesh: str) -> None:
    names = ("a", "b", "c", "d", "e")
    with trio.fail_after(100):
        async with open_ups() as up:
            started: dict[str, Up] = {}

            async def start(name: str) -> None:
                started[name] = await up("--mesh", mesh, "--port", "0", "--id", name)

            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(start, name)
            killed, *others = ups = [started[name] for name in names]
            await all_see(ups, *names)
            assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
            await all_see(others, "b", "c", "d", "e")
            for other in others:
                assert other.words("a")[-1] == "died"
            back = await up("--mesh", mesh, "--port", "0", "--id", "a")
            await all_see([back, *others], *names)
            async with httpx.AsyncClient(trust_env=False) as client:
                for one in (back, *others):
                    answer = (await client.get(one.ready["url"] + "/registry/agents")).json()
                    assert [instance["instance_id"] for instance in answer["instances"]] == list(names)
                    assert [i["instance_id"] for i in answer["instances"] if i["is_leader"]] == ["a"]


async def test_a_process_that_is_asked_to_end_leaves_at_once_and_well() -> None:
    with trio.fail_after(60):
        async with open_ups() as up:
            first = await up(*ALONE, "--id", "a")
            join = first.ready["addresses"][0]
            for number in (signal.SIGTERM, signal.SIGINT):
                other = await up(*ALONE, "--id", "b", "--join", join)
                await all_see([first, other], "a", "b")
                assert await other.end(number) == 0
                await first.until_sees("a")
                assert first.words("b")[-1] == "left"
                await other.until(lambda up: up.events[-1]["type"] == "left")
                assert "suspected" not in first.words("b")


async def test_a_process_that_was_killed_comes_back_with_what_it_kept(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_ups() as up:
            other = await up(*ALONE, "--id", "z")
            options = (*ALONE, "--data-dir", str(tmp_path), "--join", other.ready["addresses"][0])
            first = await up(*options)
            name = first.ready["id"]
            await all_see([other, first], name, "z")
            await first.end(signal.SIGKILL)
            again = await up(*options)
            assert again.ready["id"] == name
            await all_see([other, again], name, "z")

            def has_risen(up: Up) -> bool:
                incarnations = [event["instance"]["incarnation"] for event in up.about(name)]
                return bool(incarnations[-1] > incarnations[0])

            await other.until(has_risen)


async def test_the_line_that_says_ready_is_true_and_comes_first() -> None:
    with trio.fail_after(60):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            one = await up(*ALONE, "--id", "agent ü\n", "--capability", "draw", "--capability", "fly", "--profile", "p")
            assert one.events[0] is one.ready
            assert one.ready.keys() == {"type", "at", "id", "url", "mesh", "addresses"}
            assert (one.ready["id"], one.ready["mesh"]) == ("agent ü\n", "default")
            assert (await client.get(one.ready["url"] + "/readyz")).status_code == 200
            (instance,) = (await client.get(one.ready["url"] + "/registry/agents")).json()["instances"]
            assert (instance["capabilities"], instance["agent_profiles"]) == (["draw", "fly"], ["p"])


async def take_default_port(taken: socket.socket) -> None:
    """Bind the default port once no other test that runs now has it."""
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            taken.bind(("127.0.0.1", 7700))
            break
        except OSError:
            await trio.sleep(0.05)
    taken.listen()


async def test_where_the_default_port_is_taken_another_is() -> None:
    with trio.fail_after(100), socket.socket() as taken:
        await take_default_port(taken)
        async with open_ups() as up:
            one, other = await up("--no-mdns"), await up("--no-mdns")
            ports = [address.rpartition(":")[2] for address in one.ready["addresses"] + other.ready["addresses"]]
            assert "7700" not in ports
            assert len({*ports}) == 2


async def test_a_reader_that_does_not_read_does_not_stop_the_node() -> None:
    """A terminal that is stopped with Ctrl-S, or a pipe into a pager."""
    with trio.fail_after(60):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            first = await up(*ALONE, "--id", "a")
            read_end, write_end = os.pipe()
            os.set_blocking(write_end, False)
            try:
                while True:
                    os.write(write_end, b"\n" * 4096)
            except BlockingIOError:
                os.set_blocking(write_end, True)
            process = await trio.lowlevel.open_process(
                [*command(*ALONE), "--id", "stuck", "--join", first.ready["addresses"][0]], stdout=write_end
            )
            try:
                await first.until_sees("a", "stuck")
                for number in range(20):
                    body = {"instance_id": f"x{number}", "hostname": "", "port": 0, "capabilities": []}
                    await client.post(first.ready["url"] + "/registry/register", json={**body, "agent_profiles": []})
                process.terminate()
                assert await process.wait() == 0
                await first.until(lambda up: up.words("stuck")[-1:] == ["left"])
                assert "suspected" not in first.words("stuck")
            finally:
                process.kill()
                await process.wait()
                os.close(read_end)
                os.close(write_end)


# What is refused


async def test_what_cannot_be_started_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with trio.fail_after(60), socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "there is no option --nonsense (see" in await refuse(*ALONE, "--nonsense")
        assert f"port {port} of 127.0.0.1 is in use" in await refuse("--no-mdns", "--port", str(port))
        assert str(file) in await refuse(*ALONE, "--data-dir", str(file / "below"))


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("--por", "0"), ("--por",)),
        (("--port", "x"), ("--port", "'x'")),
        (("--port", "70000"), ("port = 70000", "65535")),
        (("--id", "x" * 129), ("id = ", "128 bytes")),
        (("--id", ""), ("id = ''", "1 to 128")),
        (("--id", "\udcff"), ("id = '\\udcff'",)),
        (("--mesh", ""), ("mesh = ''",)),
        (("--host", "203.0.113.1"), ("203.0.113.1", "no address of this machine")),
        (("--host", "name.invalid"), ("name.invalid",)),
        (("--join", "host:0"), ("host:0", "1 to 65535")),
        (("--join", "a b"), ("a b", "HOST:PORT")),
        (("--capability", "x" * 1025), ("capabilities[0]", "1024")),
        (("--data-dir", ""), ("data_dir = ''",)),
        (("--data-dir", "/proc/meshp2p"), ("/proc/meshp2p",)),
        (("--data-dir", "DAMAGED"), ("identity.json", "remove it")),
        (("--log-level", "loud"), ("--log-level", "loud")),
    ],
    ids=ascii,
)
def test_a_wrong_argument_is_said_in_one_line_with_its_value(
    arguments: tuple[str, ...], fragments: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "identity.json").write_text("{")
    options = [str(tmp_path) if argument == "DAMAGED" else argument for argument in arguments]
    try:
        code: object = main(["up", *ALONE, *options])
    except SystemExit as error:
        code = error.code
    output = capfd.readouterr()
    assert (code, output.out) == (2, "")
    assert output.err.startswith("meshp2p")
    assert output.err.count("\n") == 1
    for fragment in fragments:
        assert fragment in output.err


async def test_a_directory_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_ups() as up:
            await up(*ALONE, "--data-dir", str(tmp_path))
            assert "used by another running node" in await refuse(*ALONE, "--data-dir", str(tmp_path))


async def test_a_second_process_with_an_id_is_refused_and_the_first_goes_on() -> None:
    with trio.fail_after(60):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            first = await up(*ALONE, "--id", "a")
            finished = await trio.run_process(
                [*command(*ALONE), "--id", "a", "--join", first.ready["addresses"][0]],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            assert finished.returncode == 1
            assert finished.stderr.count(b"\n") == 1
            assert b"id 'a' belongs to another live node" in finished.stderr
            assert (await client.get(first.ready["url"] + "/readyz")).status_code == 200
