"""The two forms of an invitation: a code for people, and a token for programs.

::

    7-guitar-tulip-amber    a number that the inviter announces, and 3 of 256 words: 24 bits, for 3 tries
    m2-{52 characters}      a token: the mesh id and 128 random bits
"""

from __future__ import annotations

import base64
import binascii
import difflib
import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from meshp2p.errors import ConfigError
from meshp2p.trust.keys import MESH_ID_BYTES

__all__ = ["NUMBER_MAX", "WORDS", "JoinCode", "JoinToken", "parse_invitation"]

NUMBER_MAX: Final = 999
"""The largest number of a code. Few invitations are open on a network at the same time."""

WORDS: Final = tuple(
    """
    acorn actor album alley almond amber anchor angle apple apron arrow artist aspen atlas attic autumn badge
    bagel baker bamboo banana banjo barrel basin basket beacon beaver belt bench berry biscuit bishop blanket
    blossom bonfire boulder bowl bracket branch bread bridge broom bucket buffalo bugle butter button cabbage
    cabin cactus camel camera candle canoe canyon carpet carrot castle cedar cello cement cherry chimney cinema
    circle clay clover cobra coconut coffee comet compass copper coral corner cotton cousin cricket crown crystal
    cushion dagger daisy dancer desert diamond dinner doctor dolphin domino dragon drawer drum eagle easel echo
    elbow elephant engine falcon farmer feather fender fiddle finger flamingo flute forest fossil fountain fox
    galaxy garden garlic giraffe glacier glove goblet granite grape guitar hammer harbor harvest hazel hedgehog
    helmet hermit hockey honey hornet horse hotel iceberg igloo iguana insect island ivory jacket jaguar jelly
    jigsaw jungle kayak kettle kidney kitten koala ladder lagoon lantern laptop lemon leopard lettuce library lily
    lizard lobster lumber magnet mango maple marble meadow medal melon meteor mirror monkey morning motor mustard
    napkin nectar needle nephew noodle nugget nutmeg oasis ocean olive onion orange orchid otter oven oxygen
    oyster paddle palace panda paper peanut pebble pelican pencil penguin pepper piano pigeon pillow pirate planet
    plum pocket pumpkin puzzle rabbit radish raisin raven ribbon river robin salmon sandal saturn scarf shadow
    shovel silver spider sponge squirrel stapler summer sunset tablet teacup teapot temple thimble thunder tiger
    tomato tractor trumpet tulip tunnel turtle umbrella velvet violin volcano wagon walnut walrus whistle window
    winter yogurt zebra zipper
    """.split()  # noqa: SIM905  # 256 lines otherwise
)
"""Words that are told apart by ear and eye: no two differ in one letter only."""

_WORDS_IN_CODE: Final = 3
_TOKEN_PREFIX: Final = "m2-"
_SECRET_BYTES: Final = 16


class JoinCode:
    """A code for people. ``rendezvous`` is public: the inviter announces it, and the newcomer searches for it."""

    def __init__(self, number: int, words: tuple[str, ...]) -> None:
        self.text: str = "-".join((str(number), *words))
        self.rendezvous: str = str(number)
        self.mesh_id: bytes | None = None
        """The id of the mesh that the inviter must be in, None for any."""
        self.tries_max: int | None = 3
        """The number of wrong answers that end the invitation, None if they do not end it."""

    @classmethod
    def draw(cls, below: Callable[[int], int] = secrets.randbelow) -> JoinCode:
        """Return a random code. ``below(n)`` draws a number from 0 to n - 1."""
        words = tuple(WORDS[below(len(WORDS))] for _ in range(_WORDS_IN_CODE))
        return cls(1 + below(NUMBER_MAX), words)


class JoinToken:
    """A token for programs: as :class:`JoinCode`, but too long to guess, so wrong tries do not end the invitation."""

    def __init__(self, mesh_id: bytes, secret: bytes) -> None:
        self.text: str = _TOKEN_PREFIX + base64.b32encode(mesh_id + secret).decode().rstrip("=").lower()
        self.rendezvous: str = hashlib.sha256(b"meshp2p/2 rendezvous\0" + secret).hexdigest()[:16]
        self.mesh_id: bytes | None = mesh_id
        self.tries_max: int | None = None

    @classmethod
    def draw(cls, mesh_id: bytes) -> JoinToken:
        return cls(mesh_id, secrets.token_bytes(_SECRET_BYTES))


def parse_invitation(text: str) -> JoinCode | JoinToken:
    """Read what somebody typed or pasted. Raises :class:`ConfigError`, whose message never contains the whole
    secret."""
    cleaned = "-".join(text.strip().lower().replace("-", " ").split())
    if f"{cleaned}-".startswith(_TOKEN_PREFIX):
        return _parse_token(cleaned.removeprefix(_TOKEN_PREFIX))
    number, *words = cleaned.split("-")
    if not (number.isascii() and number.isdigit() and len(number) <= 4 and 1 <= int(number) <= NUMBER_MAX):
        raise ConfigError(f"a code begins with a number from 1 to {NUMBER_MAX}, such as in 7-guitar-tulip-amber")
    if len(words) != _WORDS_IN_CODE:
        raise ConfigError(f"a code has {_WORDS_IN_CODE} words: this one has {len(words)}")
    for word in words:
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, n=1)
            raise ConfigError(
                f"{word!r} is not one of the words of codes" + (f": did you mean {near[0]!r}?" if near else "")
            )
    return JoinCode(int(number), tuple(words))


def _parse_token(body: str) -> JoinToken:
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != MESH_ID_BYTES + _SECRET_BYTES:
        raise ConfigError("a token that is not complete: expected m2- and 52 letters and digits")
    return JoinToken(data[:MESH_ID_BYTES], data[MESH_ID_BYTES:])
