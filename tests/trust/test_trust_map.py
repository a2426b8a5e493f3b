"""The trust map: who is trusted, and that merging is a union."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.trust import revocation_room, trust_map
from meshp2p.trust.certificates import Certificate, consent_to, issue_agent, issue_machine
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.machines import CHAIN_MAX
from meshp2p.trust.revocations import Revocation, SignedRevocation
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap
from tests.trust.builders import MadeMachine, MadeMesh
from tests.trust.families import Family, Statement, merge, trusted

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
