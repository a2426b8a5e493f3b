"""A secured mesh on two fresh machines: three commands, and then their nodes meet. Strangers stay out and are told how
to join, and a lost machine is shut out."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import trio

from simulations.lan.network import Host
from tests.hosts.programs import open_program, switch

pytestmark = pytest.mark.slow


class Owner:
    """The user of a machine, with a data directory of its own."""

    def __init__(self, host: Host, directory: Path) -> None:
        self._host = host
        self.env = {**os.environ, "XDG_DATA_HOME": str(directory), "PYTHONUNBUFFERED": "1"}

    def command(self, *words: str) -> list[str]:
        return self._host.command(sys.executable, "-m", "meshp2p", *words)

    def up(self, instance_id: str) -> list[str]:
        return self.command("up", "--json", "--mesh", "studio", "--id", instance_id, "--insecure-lan")


async def test_two_fresh_machines_join_by_a_code_a_third_stays_out_and_a_lost_one_is_shut_out(tmp_path: Path) -> None:
    with switch("anna", "bert", "eve") as network, trio.fail_after(100):
        anna, bert, eve = (Owner(host, tmp_path / name) for name, host in network.hosts.items())
        async with open_program(*anna.command("init", "studio", "--label", "anna"), env=anna.env) as init:
            await init.wait_for_line("is made")
        async with (
            open_program(*anna.command("invite"), env=anna.env) as invite,
            open_program(*bert.command("join", "--label", "bert"), env=bert.env) as join,
        ):
            line = await invite.wait_for_line("type the code")
            code = re.search(r"\d+-\w+-\w+-\w+", line)
            assert code is not None
            join.write(code[0])
            await join.wait_for_line("joined mesh 'studio', invited by anna")
            await invite.wait_for_line("bert joined")
        async with (
            open_program(*anna.up("one"), env=anna.env) as one,
            open_program(*bert.up("two"), env=bert.env) as two,
            open_program(*eve.up("eve"), env=eve.env) as stranger,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.wait_for_line, '"member_joined"', '"instance":{"instance_id":"two"')
                nursery.start_soon(two.wait_for_line, '"member_joined"', '"instance":{"instance_id":"one"')
                nursery.start_soon(stranger.wait_for_line, '"ready"')
            async with open_program(*bert.command("agents", "--mesh", "studio", "--json"), env=bert.env) as agents:
                listed = await agents.wait_for_line("instances")
            assert set(re.findall(r'"instance_id":"(\w+)"', listed)) == {"one", "two"}
            told = await stranger.wait_for_line('"network_problem_found"')
            assert "mesh 'studio' is on this network (2 nodes), and this machine is not in it" in told
            assert "`meshp2p invite` on a member and `meshp2p join` here" in told
            async with open_program(*anna.command("revoke", "bert"), env=anna.env) as revoke:
                await revoke.wait_for_line("machine 'bert' is revoked")
                await one.wait_for_line('"member_left"', '"instance":{"instance_id":"two"')
                await two.wait_ended()
        async with open_program(*bert.up("two"), env=bert.env) as two:
            await two.wait_ended()
