"""What agents may send and ask for: Structs, dataclasses, models like Pydantic's; and what has no form in JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import uuid
from typing import Any, Self, TypedDict

import msgspec
import pytest

import meshp2p
from meshp2p.errors import ConfigError, PayloadMismatch, RemoteError
from meshp2p.node.payload import decode_payload, encode_payload
from meshp2p.node.values import check_shape
from meshp2p.testing import VirtualMesh, run


class Struct(msgspec.Struct):
    x: Any


@dataclasses.dataclass
class Point:
    x: float
    tags: list[str] = dataclasses.field(default_factory=list)


class Colour(TypedDict):
    name: str


class Level(enum.Enum):
    LOW = "low"
    NAN = float("nan")


class Model:
    """It has the methods of a Pydantic model, and nothing else."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.x == other.x

    __hash__ = None  # type: ignore[assignment]  # it may change

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return {"x": self.x}

    @classmethod
    def model_validate_json(cls, text: bytes) -> Self:
        value = json.loads(text)
        if not isinstance(value, dict) or not isinstance(value.get("x"), int):
            raise ValueError("x: Input should be a valid integer")
        return cls(value["x"])


class Opaque:
    pass


WITHOUT_FORM = {
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "bytes": b"x",
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "an object": Opaque(),
    "a complex number": 1j,
    "a function": len,
    "a lone surrogate": "\ud800",
    "in an enum": Level.NAN,
}
AROUND: dict[str, Any] = {
    "by itself": lambda value: value,
    "in a list": lambda value: [1, value],
    "in a tuple": lambda value: (1, (value,)),
    "in a dict": lambda value: {"a": [{"b": value}]},
    "in a Struct": Struct,
    "in a dataclass": Point,
    "in a model": Model,
    "in a model in a Struct": lambda value: Struct([Model(value)]),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("value", WITHOUT_FORM.values(), ids=WITHOUT_FORM)
def test_what_has_no_form_in_json_is_refused_wherever_it_is(value: Any, around: Any) -> None:
    with pytest.raises(ConfigError, match=r"payload"):
        encode_payload(around(value))


def test_keys_without_a_form_and_values_without_an_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in ({b"k": 1}, {float("nan"): 1}, {(1, 2): 3}, endless):
        with pytest.raises(ConfigError, match="payload"):
            encode_payload(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Struct(1), b'{"x":1}'),
        (Point(1.5, ["a"]), b'{"x":1.5,"tags":["a"]}'),
        (Colour(name="red"), b'{"name":"red"}'),
        (Model(3), b'{"x":3}'),
        ([Model(3), Struct(Model(4))], b'[{"x":3},{"x":{"x":4}}]'),
        (Level.LOW, b'"low"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), b'"2026-01-02T00:00:00Z"'),
        ({1: "one"}, b'{"1":"one"}'),
        (msgspec.Raw(b"[1]"), b"[1]"),
    ],
)
def test_what_has_a_form_is_sent_in_it(value: Any, text: bytes) -> None:
    assert encode_payload(value) == text


@pytest.mark.parametrize(
    ("shape", "text", "value"),
    [
        (Struct, b'{"x":1}', Struct(1)),
        (Point, b'{"x":1.5}', Point(1.5)),
        (Model, b'{"x":3}', Model(3)),
        (list[Model], b'[{"x":3}]', [Model(3)]),
        (dict[str, Model] | None, b'{"a":{"x":3}}', {"a": Model(3)}),
        (int | str, b'"x"', "x"),
        (Any, b"[1]", [1]),
    ],
)
def test_an_answer_is_made_into_the_shape_that_is_asked_for(shape: Any, text: bytes, value: Any) -> None:
    check_shape(shape)
    assert decode_payload(text, shape) == value


@pytest.mark.parametrize("shape", [Model, list[Model], Struct, Point, int])
def test_an_answer_of_another_shape_is_a_mismatch(shape: Any) -> None:
    with pytest.raises(PayloadMismatch):
        decode_payload(b'{"x":"three","tags":3}' if shape in (Model, Point) else b'["x"]', shape)


@pytest.mark.parametrize("shape", [Opaque, list[Opaque], dict[str, list[Opaque]], list[int] | tuple[int, ...], 3])
def test_what_is_no_shape_is_refused(shape: Any) -> None:
    with pytest.raises(ConfigError, match="is no shape of a payload"):
        check_shape(shape)


def test_agents_exchange_models() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["work"])
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(model: Model) -> Model:
            return Model(model.x + 1)

        @b.handler("TaskDelegation")
        async def work(point: Point, message: meshp2p.ReceivedMessage) -> list[Model]:
            return [Model(point.x), Model(message.source)]

        assert await a.query("b", Model(1)) == {"x": 2}
        assert await a.query("b", Model(1), reply=Model) == Model(2)
        assert await a.query("b", Struct(1), reply=Struct) == Struct(2)
        assert await a.delegate(Point(5), capability="work") == [{"x": 5}, {"x": "a"}]
        with pytest.raises(RemoteError, match="PayloadMismatch: payload of 'Query' from 'a'"):
            await a.query("b", {"x": "one"})
        with pytest.raises(PayloadMismatch, match="answer of 'b'"):
            await a.query("b", Model(1), reply=list[int])
        with pytest.raises(ConfigError, match="is no shape of a payload"):
            await a.query("b", Model(1), reply=Opaque)
        shared = a.shared("m")
        await shared.set("k", Model(1))
        assert shared["k"] == {"x": 1}
        with pytest.raises(ConfigError, match="value of 'k': holds NaN"):
            await shared.set("k", [float("nan")])

    run(main)
