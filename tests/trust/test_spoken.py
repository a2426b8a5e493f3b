"""Codes and tokens as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.errors import ConfigError
from meshp2p.trust.spoken import NUMBER_MAX, WORDS, JoinCode, JoinToken, parse_invitation


def differ_in_one_letter(one: str, two: str) -> bool:
    if len(one) == len(two):
        return sum(left != right for left, right in zip(one, two, strict=True)) <= 1
    short, long = sorted((one, two), key=len)
    return any(long[:index] + long[index + 1 :] == short for index in range(len(long)))


def test_a_code_has_24_bits_and_no_two_words_differ_in_one_letter_only() -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
    alike = [(one, two) for one in WORDS for two in WORDS if one < two and differ_in_one_letter(one, two)]
    assert alike == []
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


@given(st.integers(1, NUMBER_MAX), st.tuples(*[st.sampled_from(WORDS)] * 3))
def test_a_code_reads_as_it_was_drawn(number: int, words: tuple[str, ...]) -> None:
    code = JoinCode(number, words)
    for typed in (code.text, f"  {code.text.upper()} ", code.text.replace("-", " "), code.text.replace("-", " - ")):
        read = parse_invitation(typed)
        assert (read.text, read.rendezvous) == (code.text, str(number))


def test_codes_are_drawn_from_all_numbers_and_words() -> None:
    lowest, highest = JoinCode.draw(lambda _: 0), JoinCode.draw(lambda below: below - 1)
    assert lowest.text == "-".join(("1", *[WORDS[0]] * 3))
    assert highest.text == "-".join((str(NUMBER_MAX), *[WORDS[-1]] * 3))
    assert JoinCode.draw().text != JoinCode.draw().text


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_a_token_reads_as_it_was_drawn(mesh_id: bytes, secret: bytes) -> None:
    token = JoinToken(mesh_id, secret)
    read = parse_invitation(f" {token.text.upper()}\n")
    assert (read.text, read.rendezvous, read.mesh_id) == (token.text, token.rendezvous, mesh_id)
    assert read.tries_max is None


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "begins with a number"),
        ("guitar-tulip-amber", "begins with a number"),
        ("0-guitar-tulip-amber", "begins with a number"),
        ("1000-guitar-tulip-amber", "begins with a number"),
        ("99999999999999999999-guitar-tulip-amber", "begins with a number"),
        ("²-guitar-tulip-amber", "begins with a number"),
        ("7-guitar-tulip", "this one has 2"),
        ("7-guitar-tulip-amber-acorn", "this one has 4"),
        ("7-gitar-tulip-amber", "did you mean 'guitar'"),
        ("7-guitar-tulip-qqqqqq", "is not one of the words of codes$"),
        ("m2-", "not complete"),
        ("m2-aaaa", "not complete"),
        ("m2-" + "1" * 52, "not complete"),
    ],
)
def test_what_is_no_code_is_refused_before_a_try_is_spent(typed: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_invitation(typed)
