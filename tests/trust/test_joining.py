"""Joining with a code or a token: that it works, and that attacks on it change nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.errors import JoinFailed, RemoteProtocolError
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.joining import REQUEST_BYTES_MAX, WELCOME_BYTES_MAX, Invitation, InviterSide, NewcomerSide
from meshp2p.trust.spoken import JoinCode, JoinToken

CODE = JoinCode(7, ("guitar", "tulip", "amber"))
WRONG = JoinCode(7, ("guitar", "tulip", "acorn"))
NOW = 100.0


class Inviter:
    """A machine with one open invitation. Every attempt is a new connection."""

    def __init__(self, secret: JoinCode | JoinToken | None = None, *, uses: int = 1, **rights: bool | str) -> None:
        self.credential: MachineCredential = found_mesh("studio", "anna@laptop")[1]
        self.invitation = Invitation(secret or CODE, NOW + 600, uses=uses)
        for name, value in rights.items():
            setattr(self.invitation, name, value)

    def accept(self, host: str = "192.0.2.1") -> InviterSide:
        def find(rendezvous: str) -> Invitation | None:
            return self.invitation if rendezvous == self.invitation.secret.rendezvous else None

        return InviterSide(self.credential, find, host)


Change = Callable[[bytes], bytes]


def same(data: bytes) -> bytes:
    return data


def join(
    inviter: InviterSide,
    newcomer: NewcomerSide,
    *,
    now: float = NOW,
    to_inviter: Change = same,
    to_newcomer: Change = same,
    bytes_at_once: int = 1 << 20,
) -> MachineCredential:
    """Carry bytes between both until the newcomer has joined. The network may change them."""
    data = to_inviter(newcomer.begin())
    for _ in range(3):
        reply = b"".join(inviter.receive_data(part, now) for part in parts(data, bytes_at_once))
        if not reply:
            raise Silence
        data = b"".join(newcomer.receive_data(part) for part in parts(to_newcomer(reply), bytes_at_once))
        if newcomer.credential is not None:
            return newcomer.credential
        if not data:
            raise Silence
        data = to_inviter(data)
    raise Silence


class Silence(Exception):
    """Each side waits for the other."""


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# What works


@pytest.mark.parametrize("bytes_at_once", [1 << 20, 7])
def test_a_newcomer_with_the_code_is_in(bytes_at_once: int) -> None:
    inviter = Inviter()
    side = inviter.accept()
    credential = join(side, NewcomerSide(CODE, "bert@desktop"), bytes_at_once=bytes_at_once)
    assert side.is_over
    assert side.joined[0].fingerprint == credential.key.fingerprint
    assert credential.name == "studio"
    assert credential.machine.label == "bert@desktop"
    assert credential.machine.inviter == inviter.credential.key.fingerprint
    assert inviter.credential.trust.is_trusted(credential.key.fingerprint)
    assert credential.trust.digest() == inviter.credential.trust.digest()


def test_a_newcomer_learns_what_is_revoked() -> None:
    inviter = Inviter(uses=2)
    lost = join(inviter.accept(), NewcomerSide(CODE, "lost"))
    inviter.credential.trust.revoke(inviter.credential.key, lost.key.fingerprint)
    late = join(inviter.accept(), NewcomerSide(CODE, "late"))
    assert not late.trust.is_trusted(lost.key.fingerprint)


def test_the_invitation_says_what_the_newcomer_may_do() -> None:
    plain = join(Inviter().accept(), NewcomerSide(CODE, "plain")).machine
    assert (plain.may_invite, plain.is_admin, plain.may_use("anything")) == (False, False, True)
    inviter = Inviter(may_invite=True, is_admin=True, ids="worker-*")
    machine = join(inviter.accept(), NewcomerSide(CODE, "worker")).machine
    assert (machine.may_invite, machine.is_admin) == (True, True)
    assert (machine.may_use("worker-1"), machine.may_use("leader")) == (True, False)


def test_who_was_invited_may_invite_others_if_the_invitation_said_so() -> None:
    first = Inviter(may_invite=True)
    second = Inviter()
    second.credential = join(first.accept(), NewcomerSide(CODE, "second"))
    third = join(second.accept(), NewcomerSide(CODE, "third"))
    assert len(third.machine.chain) == 3
    second.credential = third
    side = second.accept()
    second.invitation.uses_left = 1
    with pytest.raises(JoinFailed, match="may not invite"):
        join(side, NewcomerSide(CODE, "fourth"))
    assert second.invitation.uses_left == 1


# Codes that are wrong, used, expired


def test_three_wrong_codes_end_the_invitation_and_the_hosts_are_named() -> None:
    inviter = Inviter()
    for number in range(3):
        assert inviter.invitation.is_open(NOW)
        with pytest.raises(JoinFailed, match="the code is wrong"):
            join(inviter.accept(f"192.0.2.{number}"), NewcomerSide(WRONG, "guesser"))
    assert inviter.invitation.wrong == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    with pytest.raises(JoinFailed, match="no such invitation"):
        join(inviter.accept(), NewcomerSide(CODE, "bert@desktop"))
    assert len(inviter.credential.trust.machines) == 1


def test_attempts_that_are_open_at_once_have_no_more_than_three_tries_together() -> None:
    inviter = Inviter()
    attempts = [(inviter.accept(), NewcomerSide(secret, "x")) for secret in (WRONG, WRONG, WRONG, WRONG, CODE)]
    answers = [newcomer.receive_data(side.receive_data(newcomer.begin(), NOW)) for side, newcomer in attempts]
    for (side, newcomer), answer in zip(attempts, answers, strict=True):
        with pytest.raises(JoinFailed):
            newcomer.receive_data(side.receive_data(answer, NOW))
    assert len(inviter.invitation.wrong) == 3
    assert len(inviter.credential.trust.machines) == 1


def test_a_connection_that_ends_early_is_no_try() -> None:
    inviter = Inviter()
    for _ in range(10):
        inviter.accept().receive_data(NewcomerSide(WRONG, "guesser").begin(), NOW)
    assert inviter.invitation.wrong == []
    join(inviter.accept(), NewcomerSide(CODE, "bert@desktop"))


def test_a_used_code_is_refused() -> None:
    inviter = Inviter()
    join(inviter.accept(), NewcomerSide(CODE, "first"))
    with pytest.raises(JoinFailed, match="it was used"):
        join(inviter.accept(), NewcomerSide(CODE, "second"))


def test_a_code_is_used_once_by_attempts_that_are_open_at_once() -> None:
    inviter = Inviter()
    attempts = [(inviter.accept(), NewcomerSide(CODE, "x")) for _ in range(2)]
    answers = [newcomer.receive_data(side.receive_data(newcomer.begin(), NOW)) for side, newcomer in attempts]
    (first, one), (second, two) = attempts
    one.receive_data(first.receive_data(answers[0], NOW))
    assert one.credential is not None
    with pytest.raises(JoinFailed, match="it was used"):
        two.receive_data(second.receive_data(answers[1], NOW))


def test_an_expired_code_is_refused_also_between_two_messages() -> None:
    inviter = Inviter()
    with pytest.raises(JoinFailed, match="it expired"):
        join(inviter.accept(), NewcomerSide(CODE, "late"), now=NOW + 600)
    side, newcomer = inviter.accept(), NewcomerSide(CODE, "slow")
    answer = newcomer.receive_data(side.receive_data(newcomer.begin(), NOW))
    with pytest.raises(JoinFailed, match="it expired"):
        newcomer.receive_data(side.receive_data(answer, NOW + 600))


def test_a_token_has_its_uses_and_no_wrong_try_ends_it() -> None:
    inviter = Inviter()
    token = JoinToken.draw(inviter.credential.mesh_id)
    inviter.invitation = Invitation(token, NOW + 3600, uses=3)
    wrong = JoinToken.draw(inviter.credential.mesh_id)
    wrong.rendezvous = token.rendezvous
    for _ in range(5):
        with pytest.raises(JoinFailed, match="the code is wrong"):
            join(inviter.accept(), NewcomerSide(wrong, "x"))
    for _ in range(3):
        join(inviter.accept(), NewcomerSide(token, "x"))
    with pytest.raises(JoinFailed, match="it was used"):
        join(inviter.accept(), NewcomerSide(token, "x"))


def test_a_token_leads_to_its_own_mesh_only() -> None:
    inviter = Inviter()
    token = JoinToken.draw(bytes(16))
    inviter.invitation = Invitation(token, NOW + 3600)
    with pytest.raises(JoinFailed, match="another mesh"):
        join(inviter.accept(), NewcomerSide(token, "x"))


# Somebody in between


def test_an_impostor_that_does_not_know_the_code_takes_nobody_in() -> None:
    impostor = Inviter(WRONG)
    with pytest.raises(JoinFailed, match="the code is wrong"):
        join(impostor.accept(), NewcomerSide(CODE, "bert@desktop"))
    # one that says that the code was right
    newcomer = NewcomerSide(CODE, "bert@desktop")
    side = impostor.accept()
    answer = newcomer.receive_data(side.receive_data(newcomer.begin(), NOW))
    assert answer
    forged = msgspec.msgpack.encode([3, bytes(32), b"sealed"])
    with pytest.raises(JoinFailed, match="does not know the code"):
        newcomer.receive_data(len(forged).to_bytes(4, "big") + forged)
    assert newcomer.credential is None


def test_a_man_in_the_middle_that_swaps_keys_is_a_wrong_code() -> None:
    """It plays inviter to the newcomer and newcomer to the inviter, and passes on what it can."""
    inviter, own = Inviter(), PrivateParts()
    with pytest.raises(JoinFailed, match="the code is wrong"):
        join(inviter.accept(), NewcomerSide(CODE, "bert@desktop"), to_inviter=own.swap_newcomer_key)
    with pytest.raises(JoinFailed, match="the code is wrong"):
        join(inviter.accept(), NewcomerSide(CODE, "bert@desktop"), to_newcomer=own.swap_inviter_key)
    assert len(inviter.invitation.wrong) == 2
    assert len(inviter.credential.trust.machines) == 1


class PrivateParts:
    """A man in the middle with a key of his own."""

    def __init__(self) -> None:
        self.spki = found_mesh("studio", "mallory")[1].key.public.spki

    def swap_newcomer_key(self, data: bytes) -> bytes:
        return self._swap(data, tag=0, field=3)

    def swap_inviter_key(self, data: bytes) -> bytes:
        return self._swap(data, tag=1, field=1)

    def _swap(self, data: bytes, tag: int, field: int) -> bytes:
        message = msgspec.msgpack.decode(data[4:])
        if message[0] != tag:
            return data
        message[field] = self.spki
        body = msgspec.msgpack.encode(message)
        return len(body).to_bytes(4, "big") + body


@settings(max_examples=60, deadline=None)
@given(message=st.integers(0, 3), position=st.integers(0, 4000), bit=st.integers(0, 7))
def test_a_changed_bit_anywhere_joins_nobody(message: int, position: int, bit: int) -> None:
    seen = 0

    def change(sent: bytes) -> bytes:
        nonlocal seen
        seen += 1
        if seen - 1 != message:
            return sent
        changed = bytearray(sent)
        changed[position % len(sent)] ^= 1 << bit
        return bytes(changed)

    newcomer = NewcomerSide(CODE, "bert@desktop")
    with pytest.raises((JoinFailed, RemoteProtocolError, Silence)):
        join(Inviter().accept(), newcomer, to_inviter=change, to_newcomer=change)
    assert newcomer.credential is None


def test_a_recorded_attempt_cannot_be_replayed_to_either_side() -> None:
    inviter = Inviter(uses=5)
    to_inviter: list[bytes] = []
    to_newcomer: list[bytes] = []

    def record(into: list[bytes]) -> Change:
        def keep(data: bytes) -> bytes:
            into.append(data)
            return data

        return keep

    join(inviter.accept(), NewcomerSide(CODE, "x"), to_inviter=record(to_inviter), to_newcomer=record(to_newcomer))
    machines = len(inviter.credential.trust.machines)
    side = inviter.accept()
    for data in to_inviter:
        reply = side.receive_data(data, NOW)
        assert reply not in to_newcomer
    assert side.joined == ()
    assert len(inviter.credential.trust.machines) == machines
    newcomer = NewcomerSide(CODE, "y")
    challenge, welcome = to_newcomer
    newcomer.receive_data(challenge)
    with pytest.raises(JoinFailed, match="does not know the code"):
        newcomer.receive_data(welcome)
    assert newcomer.credential is None


def test_a_recording_of_joining_shows_neither_the_code_nor_the_mesh() -> None:
    inviter = Inviter()
    recorded = bytearray()

    def record(data: bytes) -> bytes:
        recorded.extend(data)
        return data

    joined = join(inviter.accept(), NewcomerSide(CODE, "bert@laptop"), to_inviter=record, to_newcomer=record)
    secrets = [word.encode() for word in (*CODE.text.split("-")[1:], "studio", "anna@laptop")]
    secrets += [certificate.der for certificate in (joined.root, *joined.machine.chain)]
    secrets.append(joined.root.public.spki)
    for secret in secrets:
        assert secret not in recorded
    assert len(recorded) > 1000


# What strangers send


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_an_inviter_survives_any_bytes(data: bytes, is_framed: bool) -> None:
    inviter = Inviter()
    side = inviter.accept()
    reply = side.receive_data(len(data).to_bytes(4, "big") + data if is_framed else data, NOW)
    assert len(reply) < 100
    assert side.joined == ()
    assert inviter.invitation.uses_left == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_a_newcomer_survives_any_bytes(data: bytes, is_framed: bool) -> None:
    newcomer = NewcomerSide(CODE, "x")
    newcomer.begin()
    try:
        newcomer.receive_data(len(data).to_bytes(4, "big") + data if is_framed else data)
    except (JoinFailed, RemoteProtocolError):
        pass
    assert newcomer.credential is None


def test_a_huge_message_is_refused_by_its_length() -> None:
    side = Inviter().accept()
    assert side.receive_data((REQUEST_BYTES_MAX + 1).to_bytes(4, "big"), NOW)
    assert side.is_over
    assert "at most" in side.why
    for length in (REQUEST_BYTES_MAX + 1, WELCOME_BYTES_MAX, (1 << 32) - 1):
        with pytest.raises(RemoteProtocolError, match="at most"):
            NewcomerSide(CODE, "x").receive_data(length.to_bytes(4, "big"))


def test_messages_out_of_turn_are_refused() -> None:
    inviter = Inviter()
    newcomer = NewcomerSide(CODE, "x")
    hello = newcomer.begin()
    for wrong in (hello + hello, hello + b"x"):
        side = inviter.accept()
        side.receive_data(wrong, NOW)
        assert side.is_over
    side = inviter.accept()
    challenge = side.receive_data(hello, NOW)
    side.receive_data(hello, NOW)
    assert side.is_over
    assert "out of turn" in side.why
    newcomer.receive_data(challenge)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        newcomer.receive_data(challenge)
    assert inviter.accept().receive_data(newcomer.begin(), NOW)


def test_another_version_is_refused_with_the_reason() -> None:
    side = Inviter().accept()
    hello = msgspec.msgpack.decode(NewcomerSide(CODE, "x").begin()[4:])
    hello[1] = 2
    body = msgspec.msgpack.encode(hello)
    reply = side.receive_data(len(body).to_bytes(4, "big") + body, NOW)
    with pytest.raises(JoinFailed, match="versions"):
        NewcomerSide(CODE, "x").receive_data(reply)


@pytest.mark.parametrize("element", [b"", bytes(33), b"A" * 33, b"B" + bytes(32), b"B" + b"\xff" * 32, bytes(34)])
def test_an_element_that_is_none_is_refused(element: bytes) -> None:
    inviter = Inviter()
    newcomer = NewcomerSide(CODE, "x")
    challenge = msgspec.msgpack.decode(inviter.accept().receive_data(newcomer.begin(), NOW)[4:])
    challenge[3] = element
    body = msgspec.msgpack.encode(challenge)
    with pytest.raises(RemoteProtocolError):
        newcomer.receive_data(len(body).to_bytes(4, "big") + body)


def test_a_label_that_a_terminal_would_obey_is_refused() -> None:
    inviter = Inviter()
    with pytest.raises(JoinFailed, match="may not invite"):
        join(inviter.accept(), NewcomerSide(CODE, "x\x1b[2J"))
    assert inviter.invitation.uses_left == 1
