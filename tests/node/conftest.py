"""Fixtures for tests of nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.users import Users


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Users:
    return Users(tmp_path, monkeypatch)
