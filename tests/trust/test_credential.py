"""The credential of one machine."""

from __future__ import annotations

import pytest

from meshp2p.trust import trust_map
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.introduction import Introduction
from meshp2p.trust.statements import Statements
from tests.trust.builders import MadeMesh


def test_a_revoked_machine_that_its_map_forgot_still_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 2)
    mesh = MadeMesh()
    parent, late = mesh.invite("parent"), mesh.invite("late")
    child = parent.invite("child")
    chain = (child.certificate, parent.certificate)
    credential = MachineCredential(mesh.root, child.key, chain)
    credential.trust.merge_untrusted(Statements((), (mesh.revoke(parent),)))
    assert credential.trust.merge_untrusted(Statements((late.certificate.der,))) is None
    assert child.fingerprint not in credential.trust.machines
    assert not credential.is_trusted
    assert credential.machine.label == "child"
    assert Introduction.of(credential).chain == tuple(one.der for one in chain)
