"""The README is held to the code: its commands run, its tables name what there is."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from core.__main__ import app
from core.experts import EXPERTS
from core.fusion import FUSIONS, FusionModule
from core.fusion.base import Combine
from core.spec import parse_text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def example_commands() -> list[list[str]]:
    """The commands on `python -m core` in the first example, its loop unrolled."""
    block = next(block for block in blocks("bash") if "examples/digits/expert.yaml" in block)
    lines = [line.strip() for line in block.splitlines() if "python -m core" in line]
    unrolled = [line.replace("$k", str(k)) for line in lines for k in (range(4) if "$k" in line else [0])]
    return [shlex.split(line)[3:] for line in unrolled]


def test_the_example_runs_as_it_is_written_and_its_expert_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    commands = example_commands()
    assert len(commands) == 6
    for command in commands:
        short = ["--set", "training.epochs=1"] if command[0] == "train" else []
        done = CliRunner().invoke(app, [*command, *short], catch_exceptions=False)
        assert done.exit_code == 0, (command, done.stderr)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(next(block for block in blocks("python") if "build_module" in block), {})
    assert re.fullmatch(r"(\[(\d, ){7}\d\] ?){2}\n", said.getvalue())
    for path in re.findall(r"^\| `([a-z]\S*?)`", section("What lies in a run directory"), re.MULTILINE):
        assert (tmp_path / "runs/digits/fusion" / path).exists(), path


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_specification_in_it_is_one() -> None:
    for block in blocks("yaml"):
        parse_text(block)


def test_every_fusion_type_and_architecture_is_named() -> None:
    text = section("A specification")
    assert [name for name in (*FUSIONS, *EXPERTS) if name not in text and not name.startswith("convnet")] == []


def test_every_make_target_in_it_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", README, re.MULTILINE)) <= targets


def test_a_new_fusion_module_is_as_short_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(   class.*?)   ```", README, re.DOTALL)
    assert found
    names: dict[str, Any] = {"Combine": Combine, "Tensor": torch.Tensor, "torch": torch}
    exec(textwrap.dedent(found[1]), names)
    monkeypatch.setitem(FUSIONS, "maximum", names["Maximum"])
    module = FusionModule("maximum", [3, 3], norm=False, mlp=False)
    assert module([torch.zeros(2, 3), torch.ones(2, 3)]).equal(torch.ones(2, 3))
