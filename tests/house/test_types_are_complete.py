"""Whoever type-checks an agent of his own is told the type of everything that meshp2p has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_type_of_every_public_name_is_known(tmp_path: Path) -> None:
    tools = str(Path(sys.executable).parent)  # basedpyright asks the python on PATH where packages are
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": os.pathsep.join((tools, os.environ.get("PATH", "")))}
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", "meshp2p", "--ignoreexternal", "--outputjson"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)["typeCompleteness"]
    untold = [
        f"{symbol['name']}: {told['message']}"
        for symbol in report["symbols"]
        for told in symbol["diagnostics"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ]
    assert untold == []
    assert report["exportedSymbolCounts"]["withKnownType"] > 1000, "it did not find the package"
    assert report["completenessScore"] == 1
