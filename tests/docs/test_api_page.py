"""The API reference names every public name, and each is documented."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

import meshp2p
from meshp2p import errors

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
LISTED = re.findall(
    r"^\.\. auto(?:class|function|exception|data):: (meshp2p[\w.]*)\.(\w+)(?:\(.*\))?$", PAGE, re.MULTILINE
)


def public_names(module: str) -> set[str]:
    """The names that the page has to have: errors have a page of their own, as options have."""
    if module == "meshp2p":
        on_other_pages = {"__version__", "NodeOptions", "ProtocolConfig", "HttpLimits"}
        return {
            name
            for name in meshp2p.__all__
            if name not in on_other_pages and getattr(getattr(meshp2p, name), "__module__", "") != errors.__name__
        }
    return set(importlib.import_module(module).__all__)


@pytest.mark.parametrize("module", ["meshp2p", "meshp2p.blocking", "meshp2p.testing", "meshp2p.contrib.spec_ai"])
def test_every_public_name_is_on_the_page_and_no_other(module: str) -> None:
    assert {name for listed, name in LISTED if listed == module} == public_names(module)


@pytest.mark.parametrize(("module", "name"), LISTED)
def test_a_public_class_and_its_methods_are_documented(module: str, name: str) -> None:
    thing = getattr(importlib.import_module(module), name)
    assert not callable(thing) or inspect.getdoc(thing)
    if inspect.isclass(thing):
        for each, member in inspect.getmembers(thing):
            ours = getattr(inspect.unwrap(getattr(member, "fget", member)), "__module__", "") or ""
            if not each.startswith("_") and callable(member) and ours.startswith("meshp2p"):
                assert inspect.getdoc(member), f"{name}.{each}"
