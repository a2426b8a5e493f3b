"""What a command line of ``simulations`` does with an option that is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def assert_refused(
    main: Callable[[list[str]], int], arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with status 2 before it does anything, and says what is wrong and what is allowed."""
    code: object
    try:
        code = main(arguments)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2
    assert named in said
    assert "expected" in said
