"""The scripts of the dashboard that compute without a page, run with Node.js."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from app.web.render import STATIC
from tests.machine import find

FOLDER = Path(__file__).parent / "js"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_scripts_compute_what_their_tests_say(tmp_path: Path, name: str) -> None:
    node = find("node")
    if node is None:
        # `CI=true` turns a missing program into a failure (tests/conftest.py).
        pytest.skip("needs Node.js")
    for script in (STATIC / "js").glob("*.js"):
        shutil.copy(script, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(FOLDER / name, tmp_path)
    done = subprocess.run([node, name], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"
