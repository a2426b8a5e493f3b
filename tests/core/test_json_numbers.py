"""The numbers that are taken are those that serde_json's default parser takes: compared with a model of it.

The model follows its source (``de.rs`` without the feature ``float_roundtrip``) digit by digit, and shares nothing with
the check, which looks for numbers by patterns and asks msgspec for the rest.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshp2p.core.plain_json import NotPlainJson, check_plain_json

U64_MAX = 2**64 - 1
I32_MAX = 2**31 - 1


class Refused(Exception):
    """serde_json gives ``InvalidNumber`` or ``NumberOutOfRange``."""


class Reader:
    """Reads one number as serde_json does."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def peek(self) -> str:
        return self.text[self.place : self.place + 1]

    def is_digit(self) -> bool:
        return self.peek() != "" and self.peek() in "0123456789"

    def read(self) -> float:
        if self.peek() == "-":
            self.place += 1
        value = self.integer()
        if self.place < len(self.text):
            raise Refused  # something follows: there is no number of this form
        return value

    def integer(self) -> float:
        if not self.is_digit():
            raise Refused
        significand = int(self.peek())
        self.place += 1
        if not significand and self.is_digit():
            raise Refused  # a leading zero
        while self.is_digit():
            longer = significand * 10 + int(self.peek())
            if longer > U64_MAX:
                return self.long_integer(significand)
            significand = longer
            self.place += 1
        return self.behind_integer(significand, 0, is_long=False)

    def long_integer(self, significand: int) -> float:
        exponent = 0
        while self.is_digit():
            self.place += 1
            exponent += 1
        return self.behind_integer(significand, exponent, is_long=True)

    def behind_integer(self, significand: int, exponent: int, *, is_long: bool) -> float:
        if self.peek() == ".":
            return self.decimal(significand, exponent)
        if self.peek() in ("e", "E"):
            return self.exponent(significand, exponent)
        return from_parts(significand, exponent) if is_long else float(significand)

    def decimal(self, significand: int, before: int) -> float:
        self.place += 1
        after = 0
        while self.is_digit():
            longer = significand * 10 + int(self.peek())
            if longer > U64_MAX:
                while self.is_digit():
                    self.place += 1
                break
            significand = longer
            self.place += 1
            after -= 1
        else:
            if not after:
                raise Refused  # no digit behind the point
        if self.peek() in ("e", "E"):
            return self.exponent(significand, before + after)
        return from_parts(significand, before + after)

    def exponent(self, significand: int, starting: int) -> float:
        self.place += 1
        is_positive = self.peek() != "-"
        if self.peek() in ("+", "-"):
            self.place += 1
        if not self.is_digit():
            raise Refused
        size = 0
        while self.is_digit():
            size = size * 10 + int(self.peek())
            self.place += 1
            if size > I32_MAX:
                if significand and is_positive:
                    raise Refused
                while self.is_digit():
                    self.place += 1
                return 0.0
        return from_parts(significand, starting + size if is_positive else starting - size)


def from_parts(significand: int, exponent: int) -> float:
    value = float(significand)
    while abs(exponent) > 308:
        if value == 0:
            return 0.0
        if exponent > 0:
            raise Refused
        value /= 1e308
        exponent += 308
    power = float(f"1e{abs(exponent)}")
    value = value * power if exponent >= 0 else value / power
    if math.isinf(value):
        raise Refused
    return value


def is_taken_by_serde_json(text: str) -> bool:
    try:
        Reader(text).read()
    except Refused:
        return False
    return True


def is_taken(text: bytes) -> bool:
    try:
        check_plain_json(text)
    except NotPlainJson:
        return False
    return True


few = st.integers(0, 25)
lengths = st.one_of(few, st.integers(285, 330))


@st.composite
def digit_strings(draw: st.DrawFn, *, least: int = 0) -> str:
    """Digits: few or about as many as a double has, of one kind or mixed."""
    count = max(least, draw(lengths))
    head = draw(st.text("0123456789", max_size=25))
    fill = draw(st.sampled_from("0159"))
    return (head + fill * count)[:count]


exponents = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.integers(280, 310).map(str),
    st.sampled_from(["2147483647", "2147483648", "-2147483649", "99999999999999999999", "-" + "9" * 40]),
)


@st.composite
def number_texts(draw: st.DrawFn) -> str:
    """Texts of the grammar of numbers, and next to it: signs, leading zeros, nothing where digits belong."""
    sign = draw(st.sampled_from(["", "", "", "-", "-", "+", "--"]))
    whole = draw(digit_strings())
    if draw(st.booleans()):
        whole = whole.lstrip("0") or "0"
    fraction = draw(st.one_of(st.just(""), digit_strings().map(lambda digits: "." + digits)))
    tail = ""
    if draw(st.booleans()):
        exponent = draw(exponents)
        plus = "+" if not exponent.startswith("-") and draw(st.booleans()) else ""
        zeros = "0" * draw(st.sampled_from([0, 0, 1, 30]))
        digits = exponent.removeprefix("-")
        minus = "-" if exponent.startswith("-") else ""
        tail = draw(st.sampled_from("eE")) + plus + minus + zeros + draw(st.sampled_from([digits, digits, ""]))
    return sign + whole + fraction + tail


@st.composite
def edges(draw: st.DrawFn) -> str:
    """Numbers about the largest double, written in many ways."""
    digits = draw(st.sampled_from(["17976931348623157", "17976931348623158", "1797693134862315807937"]))
    digits += draw(st.text("0123456789", max_size=20))
    point = draw(st.integers(1, len(digits)))
    shift = 309 - point + draw(st.integers(-1, 1))
    text = digits[:point] + ("." + digits[point:] if point < len(digits) else "")
    return draw(st.sampled_from(["", "-"])) + text + draw(st.sampled_from(["e", "E", "e+", "e00"])) + str(shift)


@settings(max_examples=1000)
@given(st.one_of(number_texts(), edges()))
@example("-0")
@example("-0.0")
@example("-0e99999999999")
@example("00")
@example("-01")
@example("0e2147483648")
@example("1e2147483648")
@example("1e-2147483648")
@example("0.0000000000000000000000000000001e400")
@example("1.7976931348623157e308")
@example("1.7976931348623158e308")
@example("18446744073709551615")
@example("18446744073709551616")
@example("18446744073709551615.")
@example("1" + "0" * 308)
@example("1" + "0" * 309)
def test_a_number_is_taken_exactly_if_serde_json_takes_it(text: str) -> None:
    wanted = is_taken_by_serde_json(text)
    assert is_taken(text.encode()) == wanted
    assert is_taken(b'{"a": [null, "%s", %s]}' % (b"9" * 400, text.encode())) == wanted
    assert is_taken(b"[%s,%s]" % (text.encode(), text.encode())) == wanted


@pytest.mark.parametrize("text", ["-0", "-0.0", "0e5", "1E+2", "1e-400", "9" * 308])
def test_the_model_takes_what_is_plainly_a_number(text: str) -> None:
    assert is_taken_by_serde_json(text)
    assert is_taken(text.encode())


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1e5.0", "0x1", "1_0", "1e309", "9" * 310]
)
def test_the_model_refuses_what_is_none(text: str) -> None:
    assert not is_taken_by_serde_json(text)
    assert not is_taken(text.encode())


@given(number_texts())
def test_the_model_is_as_exact_as_its_two_roundings(text: str) -> None:
    """It is no copy of the check: where it takes a number its value is that of Python's reader, but for rounding."""
    try:
        value = Reader(text).read()
    except Refused:
        return
    exact = abs(float(text))
    if math.isinf(exact) or exact < 1e-300:
        return
    assert value == pytest.approx(exact, rel=1e-14)
