"""Secured meshes in the simulator: what stands for cryptography, attacks, and that the safeguards matter."""

from __future__ import annotations

import random

import pytest

from meshp2p.core.record import tag_of
from meshp2p.errors import ConfigError, RemoteProtocolError
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import Schedule, SecurityPlan, dump_schedule, load_schedule
from meshp2p.simulation.secured.machines import Genuine, found_mesh_of
from meshp2p.simulation.secured.nominal import NominalCertificate, NominalSecret, make_key
from meshp2p.simulation.simulation import Simulation, run
from meshp2p.trust.datagram_keys import DatagramKeys, NodeOnKey
from meshp2p.virtual.faults import Crash, Impostor, Liar, Partition, ShutOut
from meshp2p.wire.codec import Codec
from simulations.ablations.safeguards import SAFEGUARDS
from simulations.ablations.table import ablate
from simulations.baseline import read_baseline
from tests.simulation.simulated import a_mesh, a_schedule

SECURED = SecurityPlan()


def a_secured(*faults: object, **options: object) -> Schedule:
    return a_schedule(*faults, security=SECURED, **options)  # type: ignore[arg-type]


# What stands for cryptography


def test_a_signature_holds_for_one_key_one_purpose_and_one_statement() -> None:
    one, other = make_key("one"), make_key("other")
    signature = one.sign(b"record", b"statement")
    one.public.verify(b"record", b"statement", signature)
    for public, purpose, statement in (
        (other.public, b"record", b"statement"),
        (one.public, b"rumour", b"statement"),
        (one.public, b"record", b"changed"),
    ):
        with pytest.raises(RemoteProtocolError):
            public.verify(purpose, statement, signature)


def test_a_datagram_opens_for_its_receiver_and_only_as_it_was_sealed() -> None:
    draw = random.Random(1)
    keys = [DatagramKeys(lambda: NominalSecret(draw)) for _ in range(3)]
    nodes = [NodeOnKey(tag_of(name), 1, 0) for name in ("a", "b", "c")]
    publics = [one.public_keys()[1][0] for one in keys]
    pairs = {
        (i, j): keys[i].agree(b"mesh", nodes[i], nodes[j], publics[j]) for i in range(3) for j in range(3) if i != j
    }
    sealed = pairs[0, 1].seal(5, b"body", b"header")
    assert pairs[1, 0].open(5, sealed, b"header") == b"body"
    assert pairs[2, 0].open(5, sealed, b"header") is None
    assert pairs[0, 1].open(5, sealed, b"header") is None, "each direction has a key of its own"
    assert pairs[1, 0].open(6, sealed, b"header") is None
    assert pairs[1, 0].open(5, sealed, b"other") is None
    assert pairs[1, 0].open(5, b"", b"header") is None


def test_a_certificate_that_names_another_issuer_is_not_taken_into_a_map() -> None:
    first = found_mesh_of("first", Genuine())
    second = first.invite("second")
    trust = first.load().trust
    assert trust.is_trusted(second.key.fingerprint)
    mallory = found_mesh_of("mallory", Genuine())
    renamed = NominalCertificate.renamed(mallory.chain[0], first.key.fingerprint)
    with pytest.raises(RemoteProtocolError):
        renamed.verify_issued_by(first.key.public)


# Runs


@pytest.mark.parametrize("name", ["join", "replayer"])
def test_a_secured_run_repeats_exactly(name: str) -> None:
    schedule = build_schedule(name, Options(seed=3, duration=40.0))
    read = load_schedule(dump_schedule(schedule))
    assert read == schedule
    assert run(read).digest == run(schedule).digest


def test_no_datagram_of_a_secured_mesh_is_plain() -> None:
    sent: list[bytes] = []
    simulation = Simulation(a_secured())
    simulation.network.overhear = lambda data, _target: sent.append(data)
    simulation.run_until(20.0)
    assert len(sent) == simulation.network.traffic.datagrams > 50
    codec = Codec("simulation")
    for data in sent:
        with pytest.raises(RemoteProtocolError):
            codec.decode_datagram_untrusted(data)


def test_a_revoked_node_ends_and_what_it_invited_is_shut_out_with_it() -> None:
    plan = SecurityPlan(inviters={"n2": "n1"})
    simulation = Simulation(a_schedule(ShutOut(begin=20.0, node="n1", by="n0"), security=plan))
    simulation.run_until(25.0)
    running = {key for key, host in simulation.oracle.hosts.items() if host.machine is not None}
    assert running == {"n0", "n3"}
    assert all(set(simulation.oracle.hosts[key].listed) == running for key in running)
    assert simulation.violations == []


def test_a_node_that_was_restarted_beyond_its_seeds_is_found_by_those_that_knew_it() -> None:
    away = Partition(begin=20.0, end=120.0, groups=(("n0", "n1"), ("n2", "n3", "n4")))
    again = Crash(begin=40.0, end=41.0, node="n4")
    simulation = Simulation(a_secured(away, again, nodes=5, duration=120.0))
    simulation.run_until(100.0)
    assert set(simulation.oracle.hosts["n4"].listed) == {"n2", "n3", "n4"}
    assert simulation.run().violations == ()


def test_a_liar_changes_nothing_that_others_published() -> None:
    result = run(a_secured(Liar(begin=10.0, end=50.0, node="n2", rate=20.0)))
    assert result.violations == ()
    assert result.faults["Liar"] > 300


@pytest.mark.parametrize(
    "fault", [ShutOut(node="n1", by="n0"), Liar(node="n1"), Impostor()], ids=["ShutOut", "Liar", "Impostor"]
)
def test_attacks_on_trust_need_a_secured_mesh(fault: Liar) -> None:
    with pytest.raises(ConfigError, match="expected a secured mesh"):
        a_schedule(fault)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"inviters": {"n1": "n2"}}, "listed before it"),
        ({"inviters": {"n1": "n1"}}, "listed before it"),
        ({"inviters": {"nobody": "n0"}}, "nobody"),
        ({"key_seconds": 5.0}, "retired_seconds"),
        ({"retired_seconds": 0.0}, "retired_seconds"),
    ],
)
def test_an_impossible_security_plan_is_refused(plan: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        a_schedule(security=SecurityPlan(**plan))  # type: ignore[arg-type]


def test_a_chain_of_invitations_is_bounded() -> None:
    chain = {f"n{number}": f"n{number - 1}" for number in range(1, 9)}
    with pytest.raises(ConfigError, match="fewer than 8 in its chain"):
        a_schedule(nodes=9, security=SecurityPlan(inviters=chain))
    del chain["n8"]
    assert a_mesh(nodes=9, security=SecurityPlan(inviters=chain)).violations == []


# Safeguards

TRUST = ("replay-window", "signatures", "certificates", "boots", "kept-revocations", "trust-updates")
KEYS = ("key-renewal", "next-keys", "former-keys", "map-exchange")


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=() if one in ("signatures", "boots") else pytest.mark.long) for one in TRUST + KEYS],
)
def test_without_this_safeguard_a_law_fails(name: str) -> None:
    assert ablate(name, 4).is_caught


def test_every_safeguard_of_a_secured_mesh_is_tried() -> None:
    secured = {"join", "revoke", "renewal", "sleeper", "forger", "replayer"}
    assert {name for name, one in SAFEGUARDS.items() if one.scenario in secured} == {*TRUST, *KEYS}


def test_a_revocation_is_known_within_two_seconds_and_a_sleeper_is_back_in_five() -> None:
    figures = {(figure.case, figure.name): figure.value for figure in read_baseline()}
    assert figures["revoked", "seconds until a revocation is known, worst"] <= 2.0
    assert figures["sleeper", "seconds until whole again, worst"] <= 5.0
