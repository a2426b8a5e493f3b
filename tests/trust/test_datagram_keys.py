"""The keys of sealed datagrams: what two nodes derive, pinned byte for byte."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from meshp2p.trust.datagram_keys import DatagramKeys, NodeOnKey, X25519Secret
from meshp2p.wire.frame import SealedHeader, mesh_tag

MESH_ID = bytes(range(16))
ONE, TWO = NodeOnKey(0x1111111111111111, 5, 3), NodeOnKey(0x2222222222222222, 6, 300)
BODY = bytes.fromhex("93960107cf1111111111111111cf222222222222222200009090")
SEALED = (
    "6d320201ef89a16a0ab7a2b3032c0000000000070b8487bd447136f1c7cb114c9eb85e54d5b855ebc4ede82a973e3dcb570df191b359c728"
    "f35ef330248f"
)


def keys_of(seed: int, number: int) -> DatagramKeys:
    keys = DatagramKeys()
    keys.number = number
    secrets = [X25519Secret(X25519PrivateKey.from_private_bytes(bytes((seed + step,)) * 32)) for step in range(2)]
    keys._keys = {number: secrets[0], number + 1: secrets[1]}
    return keys


def test_a_sealed_datagram_has_these_bytes_and_the_other_node_opens_it() -> None:
    one, two = keys_of(1, ONE.number), keys_of(11, TWO.number)
    sending = one.agree(MESH_ID, ONE, TWO, two.public_keys()[1][0])
    receiving = two.agree(MESH_ID, TWO, ONE, one.public_keys()[1][0])
    header = SealedHeader(ONE.tag, ONE.number & 0xFF, TWO.number & 0xFF, 7).encode(mesh_tag("default"))
    sealed = sending.seal(7, BODY, header)
    assert (header + sealed).hex() == SEALED
    assert receiving.open(7, sealed, header) == BODY
    assert sending.open(7, sealed, header) is None, "each direction has a key of its own"
    assert receiving.open(8, sealed, header) is None
    assert SealedHeader.decode_untrusted(header + sealed, mesh_tag("default")) == (ONE.tag, 3, 44, 7)


@pytest.mark.parametrize("part", ["mesh", "tag", "boot", "number", "key"])
def test_another_mesh_node_boot_or_key_gives_other_keys(part: str) -> None:
    one, two = keys_of(1, ONE.number), keys_of(11, TWO.number)
    numbers = {"tag": (9, 6, 300), "boot": (ONE.tag, 9, 300), "number": (TWO.tag, 6, 301)}
    other = NodeOnKey(*numbers.get(part, (TWO.tag, TWO.boot, TWO.number)))
    public = two.public_keys()[1][part == "key"]
    sealed = one.agree(MESH_ID[::-1] if part == "mesh" else MESH_ID, ONE, other, public).seal(7, BODY, b"")
    assert two.agree(MESH_ID, TWO, ONE, one.public_keys()[1][0]).open(7, sealed, b"") is None


def test_a_public_key_of_small_order_is_refused() -> None:
    with pytest.raises(ValueError, match="shared key"):
        keys_of(1, ONE.number).agree(MESH_ID, ONE, TWO, bytes(32))


def test_a_retired_key_is_gone() -> None:
    keys = DatagramKeys()
    number, (_, following) = keys.public_keys()
    keys.renew()
    assert keys.public_keys()[1][0] == following
    assert keys.has(number)
    keys.retire()
    assert [keys.has(n) for n in range(4)] == [False, True, True, False]
