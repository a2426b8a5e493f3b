"""JSON that every client can read again: the depth of a text is that of its values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.plain_json import NotPlainJson, check_plain_json


def depth(value: object) -> int:
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


brackets = st.text('[]{}"\\a,é', max_size=5)
nested = st.recursive(
    brackets | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(brackets, inner, max_size=3),
    max_leaves=15,
)


@given(nested, st.booleans())
def test_brackets_and_quotes_within_strings_do_not_count_for_the_depth(value: object, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    deepest = depth(value)
    check_plain_json(text, deepest)
    if deepest:
        with pytest.raises(NotPlainJson, match="deeper than"):
            check_plain_json(text, deepest - 1)
