"""The trust map: who is trusted, and that merging is a union."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.trust import revocation_room, trust_map
from meshp2p.trust.certificates import Certificate, consent_to, issue_agent, issue_machine
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.machines import CHAIN_MAX
from meshp2p.trust.revocations import KEPT_MAX, TOKEN_CHARACTERS_MAX, Revocation, SignedRevocation
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap
from tests.trust.builders import MadeMachine, MadeMesh

Statement = bytes | SignedRevocation


def merge(trust: TrustMap, statements: Sequence[Statement]) -> RemoteProtocolError | None:
    machines = tuple(one for one in statements if isinstance(one, bytes))
    revocations = tuple(one for one in statements if isinstance(one, SignedRevocation))
    return trust.merge_untrusted(Statements(machines, revocations))


def trusted(trust: TrustMap, *machines: MadeMachine) -> list[bool]:
    return [trust.is_trusted(one.fingerprint) for one in machines]


class Family:
    """The root invited an admin and a parent; the parent a child, and that a grandchild."""

    def __init__(self) -> None:
        self.mesh = MadeMesh()
        self.admin = self.mesh.invite("admin", is_admin=True)
        self.parent = self.mesh.invite("parent")
        self.child = self.parent.invite("child")
        self.grandchild = self.child.invite("grandchild", may_invite=False)
        self.all = (self.admin, self.parent, self.child, self.grandchild)

    def map_of(self, *revocations: SignedRevocation) -> TrustMap:
        return self.mesh.map_of(*self.all, revocations=revocations)


# Who is in


def test_whoever_was_invited_is_trusted_and_the_map_says_by_whom() -> None:
    family = Family()
    trust = family.map_of()
    assert trusted(trust, *family.all) == [True] * 4
    machine = trust.machines[family.grandchild.fingerprint]
    assert machine.label == "grandchild"
    assert machine.inviter == family.child.fingerprint
    assert [one.fingerprint for one in machine.chain] == [
        one.fingerprint for one in (family.grandchild, family.child, family.parent)
    ]


def test_machines_of_another_mesh_are_refused() -> None:
    stranger = MadeMesh().invite()
    trust = MadeMesh().map_of()
    assert merge(trust, [stranger.certificate.der]) is not None
    assert not trust.machines


def test_a_machine_that_may_not_invite_invites_nobody() -> None:
    family = Family()
    trust = family.map_of()
    uninvited = family.grandchild.invite()
    refusal = merge(trust, [uninvited.certificate.der])
    assert refusal is not None
    assert "no right" in str(refusal)
    assert not trust.is_trusted(uninvited.fingerprint)


def test_only_admins_and_the_root_make_admins() -> None:
    family = Family()
    assert merge(family.map_of(), [family.parent.invite(is_admin=True).certificate.der]) is not None
    assert merge(family.map_of(), [family.admin.invite(is_admin=True).certificate.der]) is None


def test_the_certificate_of_an_agent_invites_nobody() -> None:
    family = Family()
    trust = family.map_of()
    agent_key = PrivateKey.generate()
    agent = issue_agent(agent_key.public, "a", 1, mesh_id=family.mesh.id, machine=family.parent.key)
    key = PrivateKey.generate()
    consent = consent_to(key, family.mesh.id, agent_key.fingerprint)
    below = issue_machine(key.public, consent, "x", mesh_id=family.mesh.id, issuer=agent_key)
    assert merge(trust, [agent.der, below.der]) is not None
    assert not trust.is_trusted(key.fingerprint)


def test_a_chain_has_a_greatest_length() -> None:
    mesh = MadeMesh()
    chain = [mesh.invite()]
    while len(chain) <= CHAIN_MAX:
        chain.append(chain[-1].invite())
    trust = TrustMap(mesh.root)
    assert merge(trust, [one.certificate.der for one in chain]) is not None
    assert trusted(trust, *chain) == [True] * CHAIN_MAX + [False]


# Revocation


def test_a_revoked_machine_is_out_with_all_that_it_invited() -> None:
    family = Family()
    trust = family.map_of(family.mesh.revoke(family.parent))
    assert trusted(trust, *family.all) == [True, False, False, False]


def test_what_it_invited_can_be_kept() -> None:
    family = Family()
    other = family.parent.invite("other")
    trust = family.mesh.map_of(
        *family.all, other, revocations=(family.mesh.revoke(family.parent, kept=(family.child,)),)
    )
    assert trusted(trust, *family.all, other) == [True, False, True, True, False]


def test_two_revocations_keep_only_what_both_keep() -> None:
    family = Family()
    keeping, not_keeping = family.mesh.revoke(family.parent, kept=(family.child,)), family.admin.revoke(family.parent)
    for order in ((keeping, not_keeping), (not_keeping, keeping)):
        assert trusted(family.map_of(*order), *family.all) == [True, False, False, False]


@pytest.mark.parametrize("author", ["root", "admin", "parent"])
def test_the_root_an_admin_and_whoever_is_above_may_revoke(author: str) -> None:
    family = Family()
    key = {"root": family.mesh.key, "admin": family.admin.key, "parent": family.parent.key}[author]
    trust = family.map_of(family.mesh.revoke(family.grandchild, author=key))
    assert trusted(trust, *family.all) == [True, True, True, False]


def test_a_token_is_revoked_by_its_signer_and_by_whoever_may_revoke_that() -> None:
    family = Family()
    child = family.child.fingerprint
    for author in (family.child, family.parent, family.admin):
        trust = family.map_of()
        trust.revoke(author.key, child, token="t")
        assert not trust.is_trusted(child, token="t")
        assert trust.is_trusted(child, token="other")
        assert trust.is_trusted(child, agent="t")
        assert trust.is_trusted(family.parent.fingerprint, token="t")
        assert trusted(trust, *family.all) == [True] * 4
        assert trust.why_revoked(child) == ""
    with pytest.raises(RemoteProtocolError, match="no right"):
        family.map_of().revoke(family.grandchild.key, child, token="t")
    revoked = family.map_of(family.mesh.revoke(family.child))
    assert not revoked.is_trusted(child, token="never seen")


def test_the_map_says_who_revoked_whom() -> None:
    family = Family()
    trust = family.map_of(family.admin.revoke(family.parent, kept=(family.child,)))
    assert trust.why_revoked(family.parent.fingerprint) == "machine 'parent' was revoked by 'admin'"
    assert trust.why_revoked(family.child.fingerprint) == ""
    trust.revoke(family.mesh.key, family.child.fingerprint)
    trust.revoke(family.mesh.key, family.admin.fingerprint, agent="a")
    assert (
        trust.why_revoked(family.grandchild.fingerprint)
        == "machine 'child', which invited 'grandchild', was revoked by the root"
    )
    assert trust.why_revoked(family.admin.fingerprint) == ""
    assert (
        trust.why_revoked(family.admin.fingerprint, agent="a") == "agent 'a' on machine 'admin' was revoked by the root"
    )
    assert trust.why_revoked(bytes(32)) == ""


def test_the_revoked_are_shown_what_proves_it_and_no_more() -> None:
    family = Family()
    trust = family.map_of(family.admin.revoke(family.parent))
    own = family.mesh.map_of(family.parent, family.child, family.grandchild)
    evidence = trust.evidence_against(family.grandchild.fingerprint)
    assert own.merge_untrusted(evidence) is None
    assert trusted(own, family.grandchild) == [False]
    assert len(evidence.machines) == 4
    assert len(evidence.revocations) == 1
    assert trust.evidence_against(family.admin.fingerprint).revocations == ()
    assert trust.evidence_against(bytes(32)) == Statements()


def test_nobody_else_may_revoke() -> None:
    family = Family()
    trust = family.map_of()
    stranger = MadeMesh().invite()
    below, beside = family.child.revoke(family.parent), family.mesh.revoke(family.admin, author=family.parent.key)
    for wrong in (below, beside, family.mesh.revoke(family.child, author=stranger.key)):
        assert merge(trust, [wrong]) is not None
    assert trusted(trust, *family.all) == [True] * 4


def test_a_forged_revocation_is_refused() -> None:
    family = Family()
    trust = family.map_of()
    body = family.mesh.revoke(family.parent).body
    forged = SignedRevocation(body, family.child.key.sign(b"revocation", body))
    longer = SignedRevocation(body + b"\0", family.mesh.key.sign(b"revocation", body + b"\0"))
    elsewhere = Revocation(bytes(16), family.parent.fingerprint, family.mesh.key.fingerprint)
    for wrong in (
        forged,
        longer,
        SignedRevocation(b"", b""),
        SignedRevocation(body, b""),
        SignedRevocation.sign(elsewhere, family.mesh.key),
    ):
        assert merge(trust, [wrong]) is not None
    assert trusted(trust, *family.all) == [True] * 4


def test_a_revoked_machine_revokes_nobody_any_more() -> None:
    family = Family()
    revenge = family.admin.revoke(family.parent)
    for order in ((family.mesh.revoke(family.admin), revenge), (revenge, family.mesh.revoke(family.admin))):
        assert trusted(family.map_of(*order), *family.all) == [False, True, True, True]


def test_what_a_machine_had_revoked_stays_so_when_it_is_revoked_itself() -> None:
    family = Family()
    trust = family.map_of(family.admin.revoke(family.parent))
    signed = trust.revoke(family.mesh.key, family.admin.fingerprint)
    assert len(signed) == 2
    assert trusted(trust, *family.all) == [False] * 4
    assert trusted(family.map_of(*signed), *family.all) == [False] * 4


def test_admins_that_revoke_each_other_are_both_out() -> None:
    mesh = MadeMesh()
    one, two = mesh.invite("one", is_admin=True), mesh.invite("two", is_admin=True)
    for order in ((one.revoke(two), two.revoke(one)), (two.revoke(one), one.revoke(two))):
        assert trusted(mesh.map_of(one, two, revocations=order), one, two) == [False, False]


def test_a_revoked_inviter_brings_nobody_in_any_more() -> None:
    family = Family()
    trust = family.map_of(family.mesh.revoke(family.parent, kept=(family.child,)))
    late = family.parent.invite("late")
    merge(trust, [late.certificate.der])
    assert not trust.is_trusted(late.fingerprint)
    assert trust.is_trusted(family.child.fingerprint)


def test_a_revocation_is_made_with_what_it_needs_or_not_at_all() -> None:
    family = Family()
    trust = family.map_of()
    before = trust.digest()
    with pytest.raises(RemoteProtocolError, match="no right"):
        trust.revoke(family.child.key, family.parent.fingerprint)
    assert trust.digest() == before
    trust.revoke(family.mesh.key, family.parent.fingerprint, keep_invited=True)
    assert trusted(trust, *family.all) == [True, False, True, True]


def test_more_machines_than_a_revocation_can_keep_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family()
    trust = family.map_of()
    monkeypatch.setattr(trust_map, "KEPT_MAX", 0)
    with pytest.raises(ConfigError, match="at most 0"):
        trust.revoke(family.mesh.key, family.parent.fingerprint, keep_invited=True)


# Agents


def test_an_agent_is_verified_down_from_the_root() -> None:
    family = Family()
    role = family.map_of().verify_agent(family.grandchild.start_agent("worker-1", 3))
    assert (role.id, role.boot) == ("worker-1", 3)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda family: MadeMesh().invite().start_agent("worker-1", 3), Refusal.UNTRUSTED),
        (lambda family: family.child.invite().start_agent("worker-1", 3), Refusal.UNKNOWN),
        (lambda family: family.child.certificate, Refusal.UNTRUSTED),
        (lambda family: family.mesh.root, Refusal.UNTRUSTED),
    ],
    ids=["another mesh", "an unknown machine", "a machine", "the root"],
)
def test_a_certificate_that_does_not_fit_is_refused(make: object, why: Refusal) -> None:
    family = Family()
    assert callable(make)
    certificate = make(family)
    assert isinstance(certificate, Certificate)
    with pytest.raises(RemoteProtocolError) as refused:
        family.map_of().verify_agent(certificate)
    assert refused.value.reason is why


def test_the_certificate_of_an_agent_that_its_machine_did_not_sign_is_refused() -> None:
    family = Family()
    key = PrivateKey.generate()
    real = issue_agent(key.public, "worker-1", 3, mesh_id=family.mesh.id, machine=family.child.key)
    forged = issue_agent(key.public, "worker-1", 3, mesh_id=family.mesh.id, machine=PrivateKey.generate())
    forged.issuer = real.issuer
    with pytest.raises(RemoteProtocolError, match="signature"):
        family.map_of().verify_agent(forged)


def test_an_agent_is_out_with_its_machine_and_alone() -> None:
    family = Family()
    one, two = family.child.start_agent("one"), family.child.start_agent("two")
    for revocation, are_out in (
        (family.mesh.revoke(family.parent), [True, True]),
        (family.mesh.revoke(family.child), [True, True]),
        (family.child.revoke(family.child, agent="one"), [True, False]),
        (family.mesh.revoke(family.child, agent="two"), [False, True]),
    ):
        trust = family.map_of(revocation)
        for certificate, is_out in zip((one, two), are_out, strict=True):
            if is_out:
                with pytest.raises(RemoteProtocolError) as refused:
                    trust.verify_agent(certificate)
                assert refused.value.reason is Refusal.REVOKED
            else:
                trust.verify_agent(certificate)


def test_every_pattern_of_the_chain_limits_the_ids() -> None:
    mesh = MadeMesh()
    outer = mesh.invite(ids="worker-*")
    inner = outer.invite(ids="*-gpu")
    trust = mesh.map_of(outer, inner)
    trust.verify_agent(inner.start_agent("worker-1-gpu"))
    trust.verify_agent(outer.start_agent("worker-1"))
    for machine, instance_id in ((inner, "worker-1"), (inner, "leader-gpu"), (outer, "leader")):
        with pytest.raises(RemoteProtocolError, match="may not use the id"):
            trust.verify_agent(machine.start_agent(instance_id))


# Bounds


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


# Laws


def made_statements(seed: int) -> tuple[MadeMesh, list[Statement]]:
    """A random mesh with random revocations, and statements that are wrong."""
    chance = random.Random(seed)
    mesh = MadeMesh()
    machines: list[MadeMachine] = [mesh.invite(is_admin=chance.random() < 0.5)]
    for _ in range(chance.randrange(8)):
        inviters: list[MadeMesh | MadeMachine] = [mesh, *machines]
        inviter = chance.choice(inviters)
        machines.append(inviter.invite(may_invite=chance.random() < 0.8, is_admin=chance.random() < 0.3))
    statements: list[Statement] = [one.certificate.der for one in machines]
    for _ in range(chance.randrange(8)):
        kept = tuple(chance.sample(machines, chance.randrange(min(3, len(machines)))))
        agent = chance.choice(["", "", "agent", "other"])
        author = chance.choice([mesh.key, *(one.key for one in machines)])
        statements.append(mesh.revoke(chance.choice(machines), agent=agent, kept=kept, author=author))
    return mesh, statements


@pytest.mark.parametrize("most", [0, 1, revocation_room.REVOCATIONS_OF_MACHINE_MAX])
def test_merging_is_a_union_in_any_order_and_any_parts(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(revocation_room, "REVOCATIONS_OF_MACHINE_MAX", most)
    monkeypatch.setattr(revocation_room, "REVOCATIONS_OF_AGENTS_MAX", most)
    check_union()


@settings(max_examples=25)
@given(st.integers(0, 1 << 32), st.randoms(use_true_random=False))
def check_union(seed: int, order: random.Random) -> None:
    mesh, statements = made_statements(seed)
    whole = TrustMap(mesh.root)
    merge(whole, statements)

    replicas = [TrustMap(mesh.root) for _ in range(3)]
    parts = [[one for one in statements if order.random() < 0.6] for _ in replicas]
    parts[0] = list(statements)
    for replica, part in zip(replicas, parts, strict=True):
        order.shuffle(part)
        merge(replica, part)
    for _ in range(2):
        for replica in replicas:
            for other in order.sample(replicas, len(replicas)):
                before = replica.statements()
                replica.merge_untrusted(other.statements())
                assert set(before.machines) <= set(replica.statements().machines)
    for replica in replicas:
        assert replica.digest() == whole.digest()
        assert replica.revocations == whole.revocations
        assert replica.machines.keys() == whole.machines.keys()
        assert [replica.is_trusted(key) for key in whole.machines] == [whole.is_trusted(key) for key in whole.machines]


@settings(max_examples=25)
@given(st.integers(0, 1 << 32))
def test_what_a_map_says_of_itself_it_takes_back_whole(seed: int) -> None:
    mesh, statements = made_statements(seed)
    trust = TrustMap(mesh.root)
    merge(trust, statements)
    again = TrustMap(mesh.root)
    assert again.merge_untrusted(trust.statements()) is None
    assert again.digest() == trust.digest()


@settings(max_examples=25)
@given(st.integers(0, 1 << 32))
def test_a_revocation_by_the_root_is_never_taken_back(seed: int) -> None:
    mesh, statements = made_statements(seed)
    trust = TrustMap(mesh.root)
    merge(trust, [one for one in statements if isinstance(one, bytes)])
    machines = list(trust.machines)
    target = machines[seed % len(machines)]
    trust.revoke(mesh.key, target)
    below = [key for key, one in trust.machines.items() if target in {link.fingerprint for link in one.chain}]
    assert not any(trust.is_trusted(key) for key in below)
    merge(trust, statements)
    assert not any(trust.is_trusted(key) for key in below)
