"""The bounds of the trust map: what a full one takes and forgets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.trust import revocation_room, trust_map
from meshp2p.trust.revocations import KEPT_MAX, TOKEN_CHARACTERS_MAX, Revocation, SignedRevocation
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap
from tests.trust.builders import MadeMachine, MadeMesh
from tests.trust.families import Family, Statement, merge, trusted


def test_a_full_map_takes_no_more_but_forgets_what_is_below_a_revoked_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 4)
    family = Family()
    trust = family.map_of()
    late = family.mesh.invite("late")
    refusal = merge(trust, [late.certificate.der])
    assert refusal is not None
    assert refusal.reason is Refusal.TOO_LARGE
    merge(trust, [family.mesh.revoke(family.parent)])
    assert merge(trust, [late.certificate.der]) is None
    assert trusted(trust, family.admin, family.parent, late) == [True, False, True]
    merge(trust, [family.parent.invite().certificate.der for _ in range(4)])
    assert len(trust.machines) <= 4


def test_a_full_map_still_takes_revocations_by_admins_and_then_by_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation_room, "REVOCATIONS_MAX", 1)
    family = Family()
    trust = family.map_of(family.parent.revoke(family.grandchild, agent="one"))
    assert merge(trust, [family.parent.revoke(family.grandchild, agent="two")]) is not None
    assert merge(trust, [family.admin.revoke(family.grandchild), family.admin.revoke(family.child)]) is None
    assert merge(trust, [family.admin.revoke(family.parent)]) is not None
    assert merge(trust, [family.mesh.revoke(family.admin)]) is None
    assert trusted(trust, *family.all) == [False, True, True, True]


def flood(mallory: MadeMachine, *, kept: tuple[MadeMachine, ...] = ()) -> list[Statement]:
    """Revocations of invented machines below this one, by it and by them."""
    statements: list[Statement] = []
    for number in range(3):
        invented = mallory.invite(f"invented {number}")
        authors = (mallory, invented)
        statements += [
            invented.certificate.der,
            *(one.revoke(invented, agent=f"agent-{count}", kept=kept) for one in authors for count in range(32)),
        ]
    return statements


def test_a_member_cannot_take_the_room_of_others() -> None:
    family = Family()
    trust = family.map_of()
    refusal = merge(trust, flood(family.parent))
    assert refusal is not None
    assert refusal.reason is Refusal.TOO_LARGE
    assert len(trust.statements().revocations) == revocation_room.REVOCATIONS_OF_BRANCH_MAX
    with pytest.raises(ConfigError, match="except from the root or an admin"):
        trust.revoke(family.child.key, family.grandchild.fingerprint)
    other = family.mesh.invite("other")
    assert merge(trust, [other.certificate.der]) is None
    trust.revoke(other.key, other.fingerprint, agent="lost")
    trust.revoke(family.admin.key, family.parent.fingerprint)
    trust.revoke(family.mesh.key, family.admin.fingerprint)
    assert trusted(trust, *family.all, other) == [False] * 4 + [True]


def test_revocations_by_a_revoked_machine_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family()
    monkeypatch.setattr(revocation_room, "REVOCATIONS_MAX", revocation_room.REVOCATIONS_OF_BRANCH_MAX)
    other = family.mesh.invite("other")
    trust = family.map_of()
    junk = flood(family.parent)
    merge(trust, [other.certificate.der, *junk])
    lost = other.revoke(other, agent="lost")
    assert merge(trust, [lost]) is not None
    assert merge(trust, [family.mesh.revoke(family.parent), lost]) is None
    assert not trust.is_trusted(other.fingerprint, agent="lost")
    assert len(trust.statements().revocations) == 2
    assert not trust.is_trusted(family.parent.fingerprint)


def test_a_revocation_that_keeps_many_takes_more_room() -> None:
    family = Family()
    trust = family.map_of()
    merge(trust, flood(family.parent, kept=(family.child,) * 255))
    assert len(trust.statements().revocations) == revocation_room.REVOCATIONS_OF_BRANCH_MAX // 16


def test_revocations_by_a_machine_that_was_forgotten_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 3)
    mesh = MadeMesh()
    thief = mesh.invite(is_admin=True)
    below, victim = thief.invite(is_admin=True), mesh.invite()
    trust = mesh.map_of(thief, below, victim, revocations=(mesh.revoke(thief), below.revoke(victim)))
    assert trust.is_trusted(victim.fingerprint)
    assert merge(trust, [mesh.invite().certificate.der]) is None
    assert below.fingerprint not in trust.machines
    assert trust.is_trusted(victim.fingerprint)


@pytest.mark.parametrize("kind", ["agent", "token"])
def test_one_author_revokes_a_bounded_number_of_agents_and_then_the_machine(kind: str) -> None:
    family = Family()
    trust = family.map_of()
    child, most = family.child.fingerprint, revocation_room.REVOCATIONS_OF_AGENTS_MAX

    def revoke(number: int) -> None:
        name = f"{kind}-{number}"
        trust.revoke(family.parent.key, child, agent=name * (kind == "agent"), token=name * (kind == "token"))

    for number in range(most):
        revoke(number)
    before = trust.digest()
    with pytest.raises(ConfigError, match="revoke the machine instead"):
        revoke(most)
    revoke(most - 1)
    assert trust.digest() == before
    for number in range(most):
        name = f"{kind}-{number}"
        assert not trust.is_trusted(child, agent=name * (kind == "agent"), token=name * (kind == "token"))
    assert trust.is_trusted(child)
    trust.revoke(family.parent.key, child)
    assert not trust.is_trusted(child)


def test_one_author_keeps_machines_a_bounded_number_of_times() -> None:
    family = Family()
    trust = family.map_of()
    for number in range(revocation_room.REVOCATIONS_OF_MACHINE_MAX):
        kept = (family.child, family.parent.invite(f"guest {number}"))
        merge(trust, [kept[1].certificate.der, family.mesh.revoke(family.parent, kept=kept)])
    assert trusted(trust, *family.all) == [True, False, True, True]
    with pytest.raises(ConfigError, match="revoke it without keeping others instead"):
        trust.revoke(family.mesh.key, family.parent.fingerprint, keep_invited=True)
    assert trusted(trust, *family.all) == [True, False, True, True]
    trust.revoke(family.mesh.key, family.parent.fingerprint)
    assert trusted(trust, *family.all) == [True, False, False, False]


def test_whose_revocations_do_not_count_is_told() -> None:
    family = Family()
    trust = family.map_of(family.mesh.revoke(family.admin))
    with pytest.raises(RemoteProtocolError, match="'admin' was revoked: it revokes nobody"):
        trust.revoke(family.admin.key, family.parent.fingerprint)


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_too_many_revocations_by_one_author_revoke_the_machine_in_any_order(order: random.Random) -> None:
    family = Family()
    agents = [family.mesh.revoke(family.child, agent=f"agent-{number}") for number in range(40)]
    kept = [family.mesh.revoke(family.parent, kept=(family.child, family.mesh.invite())) for _ in range(10)]
    for statements in (agents, kept):
        one, two, most = family.map_of(*statements), family.map_of(), len(statements)
        parts = [order.sample(statements, order.randrange(most)) for _ in range(3)]
        for part in (*parts, order.sample(statements, most)):
            merge(two, part)
        assert one.digest() == two.digest()
        assert one.revocations == two.revocations
        assert trusted(two, family.child, family.grandchild) == [False, False]
        assert "revoked by the root" in two.why_revoked(family.child.fingerprint, agent="agent-39")


def test_a_revocation_that_keeps_as_many_as_possible_can_be_sent() -> None:
    mesh = MadeMesh()
    machine = mesh.invite()
    name, token = "é" * (ID_BYTES_MAX // 2), "\U0001f600" * TOKEN_CHARACTERS_MAX
    kept = tuple(number.to_bytes(32, "big") for number in range(KEPT_MAX))
    signed = SignedRevocation.sign(
        Revocation(mesh.id, machine.fingerprint, mesh.key.fingerprint, name, kept, token), mesh.key
    )
    assert Statements.decode_untrusted(Statements((), (signed,)).encode()).revocations == (signed,)


def test_a_map_counts_the_revocations_by_machines_that_it_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 4)
    monkeypatch.setattr(revocation_room, "REVOCATIONS_MAX", 2)
    family = Family()
    trust = family.map_of(family.child.revoke(family.grandchild), family.mesh.revoke(family.parent))
    other = family.mesh.invite("other")
    assert merge(trust, [other.certificate.der]) is None
    assert trust.machines.keys() == {family.admin.fingerprint, family.parent.fingerprint, other.fingerprint}
    lost, found = other.revoke(other, agent="lost"), other.revoke(other, agent="found")
    assert merge(trust, [lost]) is None
    assert len(trust.statements().revocations) == 3
    assert merge(trust, [found]) is None
    assert len(trust.statements().revocations) == 3, "that of the child was not forgotten"
    assert not trust.is_trusted(other.fingerprint, agent="lost")
    assert not trust.is_trusted(family.parent.fingerprint)


def test_a_full_map_forgets_no_machine_above_one_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 5)
    family = Family()
    trust = family.map_of(
        family.mesh.revoke(family.parent, kept=(family.child,)),
        family.mesh.revoke(family.child, kept=(family.grandchild,)),
    )
    assert trusted(trust, *family.all) == [True, False, False, True]
    gone, late = family.parent.invite("gone"), family.mesh.invite("late")
    assert merge(trust, [gone.certificate.der]) is None
    assert merge(trust, [late.certificate.der]) is None
    assert trusted(trust, *family.all, gone, late) == [True, False, False, True, False, True]
    assert merge(trust, [family.mesh.invite().certificate.der]) is not None


def test_a_machine_below_one_that_was_just_forgotten_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 4)
    family = Family()
    trust = family.map_of(family.mesh.revoke(family.parent))
    merge(trust, [family.mesh.invite("late").certificate.der, family.child.invite("orphan").certificate.der])
    assert len(trust.machines) == len(trust.statements().machines) == 3
    again = TrustMap(family.mesh.root)
    assert again.merge_untrusted(trust.statements()) is None
    assert again.digest() == trust.digest()


def test_an_admin_that_revoked_a_forgotten_machine_can_be_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 4)
    family = Family()
    trust = family.map_of(family.admin.revoke(family.child), family.mesh.revoke(family.parent))
    assert merge(trust, [family.mesh.invite("late").certificate.der]) is None
    assert family.child.fingerprint not in trust.machines
    assert len(trust.revoke(family.mesh.key, family.admin.fingerprint)) == 1
    assert not trust.is_trusted(family.admin.fingerprint)
