"""Which bodies are read, what becomes of them, and with which status the others are refused."""

from __future__ import annotations

import json
import sys
import threading
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.plain_json import PAYLOAD_DEPTH_MAX
from meshp2p.http.body import BODY_DEPTH_MAX, BadRequest, decode_in_steps, encode_json

JSON = "application/json"


class Inner(msgspec.Struct):
    names: list[str]


class Order(msgspec.Struct, frozen=True):
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    payload: Any = None
    inner: Inner | None = None
    share: float = 0.0
    table: dict[str, int] = {}


def decode_json(body: bytes, shape: Any, content_type: str | None) -> Any:
    """All steps at once."""
    steps = decode_in_steps(body, shape, content_type)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def refusal(body: bytes, shape: Any = Any, content_type: str | None = JSON) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode_json(body, shape, content_type)
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;x;CharSet="UTF-8"',
        " application/json ;",
        "application/vnd.api+json",
        "application/a.b-c+d+JSON; v=1",
    ],
)
def test_what_says_it_is_json_is_read(content_type: str) -> None:
    assert decode_json(b"[1]", list[int], content_type) == [1]


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "", "json", "text/plain", "text/json", "application/jsonp", "application/+json", "application/json/x"),
        *(
            "application/ json",
            "application/a b+json",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin-1",
            "application/json;charset=utf-16",
            "application/json; charset=utf-8; charset=ascii",
            "application/json; charset=",
        ),
    ],
)
def test_what_does_not_say_it_is_json_is_a_415(content_type: str | None) -> None:
    refused = refusal(b"{}", Any, content_type)
    assert refused.status == 415
    assert refused.message.endswith("expected application/json in UTF-8")
    assert content_type is None or content_type in refused.message


NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "invalid UTF-8": b'"\xff"',
    "UTF-8 cut short": b'"\xc3"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "minus Infinity": b"-Infinity",
    "past a double": b"1e999",
    "past a double, below 0": b"-1e309",
    "an integer past a double": b"1" + b"0" * 309,
    "an integer past a double, below 0": b"-2" + b"0" * 308,
    "an integer of many digits": b"9" * 10_000,
    "past a double for serde_json, which rounds twice": b"1.7976931348623158e308",
    "the same, and below 0": b"-17976931348623158E+292",
    "the largest double as an integer, for serde_json": b"%d" % int(sys.float_info.max),
    "many digits with an exponent of one": b"9" * 305 + b"e5",
    "an exponent that begins with zeros": b"1e+000000000000000000000000000309",
    "digits with a fraction, past a double": b"9" * 309 + b".5",
    "escaped lone high surrogate": rb'"\ud800"',
    "escaped lone low surrogate": rb'"\uDC00"',
    "escaped surrogates the wrong way round": rb'"\udc00\ud800"',
    "escaped high surrogate before a character": rb'"\ud800\u0041"',
    "raw surrogate": b'"\xed\xa0\x80"',
    "surrogate in a key": rb'{"\ud800":1}',
    "raw surrogate in a key": b'{"\xed\xa0\x80":1}',
    "too deep": b"[" * (BODY_DEPTH_MAX + 1) + b"]" * (BODY_DEPTH_MAX + 1),
    "too deep, objects": b'{"a":' * (BODY_DEPTH_MAX + 1) + b"1" + b"}" * (BODY_DEPTH_MAX + 1),
    "far too deep": b"[" * 1_000_000,
    "far too deep, mixed": b'[{"a":' * 300_000,
    "two values": b"1 2",
    "unclosed": b'{"a":1',
    "trailing comma": b"[1,]",
    "comment": b"[1] // one",
    "single quotes": b"{'a':1}",
    "leading zero": b"01",
    "no digit after the point": b"1.",
    "no digit before the point": b".5",
    "plus": b"+1",
    "control character": b'"\n"',
    "bad escape": rb'"\x41"',
    "NUL": b"1\x00",
    "a word": b"True",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_a_400_wherever_it_stands(body: bytes) -> None:
    assert refusal(body).status == 400
    assert refusal(body, Order).status == 400
    in_payload = b'{"port":1,"payload":%s}' % body
    if body:
        assert refusal(in_payload, Order).status == 400
        # Keys that nobody reads are checked as well, and a wrong type before the mistake does not hide it.
        assert refusal(b'{"port":1,"unknown":%s}' % body, Order).status == 400
        assert refusal(b'{"port":"1","unknown":%s}' % body, Order).status == 400


@pytest.mark.parametrize("depth", [PAYLOAD_DEPTH_MAX, PAYLOAD_DEPTH_MAX + 1])
def test_a_payload_may_be_120_levels_deep(depth: int) -> None:
    body = b'{"port":1,"payload":' + b"[" * depth + b"]" * depth + b"}"
    if depth <= 120:
        assert decode_json(body, Order, JSON).port == 1
    else:
        assert refusal(body, Order).message == "the body is nested deeper than 121 levels"


def test_only_real_brackets_count_as_depth() -> None:
    wide: Any = [{"a": []} for _ in range(500)]
    words = ["[" * 500, '"[{' * 200, "\\", '\\"[' * 200]
    values: list[Any] = [wide, words, {word: word for word in words}]
    for value in values:
        assert decode_json(json.dumps(value).encode(), Any, JSON) == value


def test_a_deep_body_is_refused_in_a_thread_with_a_small_stack() -> None:
    statuses: list[int] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: statuses.append(refusal(b"[" * 1_000_000).status))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert statuses == [400]


@pytest.mark.parametrize(
    "number",
    [2**53 + 1, 2**63, -(2**63) - 1, 2**64, 2**70, -(2**70), 10**300 + 1, int(1.797693134862314e308), 10**308],
)
def test_an_integer_comes_out_as_it_went_in(number: int) -> None:
    value = decode_json(b'{"port":1,"payload":[%d]}' % number, Order, JSON).payload
    assert value == [number]
    assert type(value[0]) is int
    assert encode_json(value) == b"[%d]" % number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1e-%s" % (b"9" * 400), 0.0),
        (b"0e%s" % (b"9" * 400), 0.0),
        (b"0.%s1e400" % (b"0" * 399), 1.0),
        (b"17976931348623157e292", sys.float_info.max),
        (b"1" * 300 + b"e5", float("1" * 300 + "e5")),
        (b"1e+%s1" % (b"0" * 400), 10.0),
        (b"-0", 0),
        (b"-0.0", -0.0),
        (b"1.0000000000000000001", 1.0),
        (b"1e5", 100000.0),
        (b"1.7976931348623157e308", sys.float_info.max),
        (b"1e-999", 0.0),
        (b"1" + b"0" * 400 + b"e-400", 1.0),
        (b"0." + b"1" * 400, 1 / 9),
    ],
)
def test_another_number_is_the_nearest_double(text: bytes, value: float) -> None:
    decoded: object = decode_json(text, Any, JSON)
    assert decoded == value
    assert type(decoded) is type(value)


def test_digits_in_a_string_are_no_number() -> None:
    assert decode_json(b'["%s"]' % (b"9" * 400), list[str], JSON) == ["9" * 400]


def test_of_equal_keys_the_last_holds() -> None:
    assert decode_json(b'{"port":1,"port":2}', Order, JSON).port == 2


def test_a_pair_of_escaped_surrogates_is_one_character() -> None:
    assert decode_json(rb'"\ud83d\ude00\u0000"', str, JSON) == "\U0001f600\x00"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"port":"1"}', 'Expected `int`, got `str` - at `$.port`: "1"'),
        (b'{"port":70000}', "Expected `int` <= 65535 - at `$.port`: 70000"),
        (b'{"port":1.0}', "Expected `int`, got `float` - at `$.port`: 1.0"),
        (b'{"port":true}', "Expected `int`, got `bool` - at `$.port`: true"),
        (b'{"port":null}', "Expected `int`, got `null` - at `$.port`: null"),
        (b"{}", "Object missing required field `port` - at `$`: {}"),
        (b"[]", "Expected `object`, got `array` - at `$`: []"),
        (b'{"port":1,"inner":{}}', "Object missing required field `names` - at `$.inner`: {}"),
        (b'{"port":1,"inner":{"names":["a",5]}}', "Expected `str`, got `int` - at `$.inner.names[1]`: 5"),
        (b'{"port":1,"table":{"a":"b"}}', "Expected `int`, got `str` - at `$.table[...]`"),
        (b'{"port":["%s"]}' % (b"x" * 100), "Expected `int`, got `array` - at `$.port`"),
    ],
)
def test_a_wrong_shape_is_a_422_that_says_where_and_what(body: bytes, message: str) -> None:
    refused = refusal(body, Order)
    assert (refused.status, refused.message) == (422, message)


def test_what_is_wrong_is_asked_in_the_order_of_the_statuses() -> None:
    assert refusal(b'{"port":"1"', Order, None).status == 415
    assert refusal(b'{"port":"1"', Order).status == 400
    assert refusal(b'{"port":"1"}', Order).status == 422


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
JSON_PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"', b"\\", b":", b",", b"1", b"9" * 309, b"-", b"e", b".", b"\\ud800", b'{"port":', b" "]
)


def refusal_or_none(body: bytes, shape: Any, content_type: str) -> BadRequest | None:
    try:
        decode_json(body, shape, content_type)
    except BadRequest as refused:
        return refused
    return None


@given(st.one_of(st.binary(), st.lists(JSON_PIECES).map(b"".join), st.text().map(str.encode)))
def test_any_bytes_are_a_value_or_a_refusal(body: bytes) -> None:
    for shape in (Any, Order, list[int]):
        refused = refusal_or_none(body, shape, JSON)
        assert refused is None or refused.status in (400, 422)
        assert refused is None or encode_json({"error": refused.message})


@given(JSON_VALUES)
def test_any_json_value_comes_back_the_same(value: Any) -> None:
    assert decode_json(encode_json(value), Any, JSON) == value


@given(JSON_VALUES)
def test_what_is_accepted_another_parser_reads_alike(value: Any) -> None:
    body = json.dumps(value).encode()
    assert decode_json(body, Any, JSON) == json.loads(body)


@given(st.text())
def test_any_content_type_is_right_or_a_415(content_type: str) -> None:
    refused = refusal_or_none(b"1", int, content_type)
    assert refused is None or refused.status == 415
