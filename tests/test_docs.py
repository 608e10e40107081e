"""The README is held to the code: its commands run, its tables name what there is."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typer.testing import CliRunner

from app.cli.main import app as mcn
from app.http.errors import PROBLEMS
from app.jobs.transitions import TRANSITIONS
from app.models import TERMINAL_STATES, Reason, State
from app.settings import Settings
from app.sweeps.grid import points
from app.sweeps.placement import plan
from app.sweeps.validation import parse_sweep
from core.__main__ import app
from core.components import load_component
from core.fusion import Combine, FusionModule
from core.spec import ARCHITECTURES, FUSION_TYPES, FusionOptions, parse_text, read_mapping
from tests.e2e.running import Running
from tests.parts import need

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def example_commands() -> list[list[str]]:
    """The commands on `python -m core` in the first example, its loop unrolled."""
    block = next(block for block in blocks("bash") if "expert.shard=$k" in block)
    lines = [line.strip() for line in block.splitlines() if "python -m core" in line]
    unrolled = [line.replace("$k", str(k)) for line in lines for k in (range(4) if "$k" in line else [0])]
    return [shlex.split(line)[3:] for line in unrolled]


def test_the_example_runs_as_it_is_written_and_its_expert_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    commands = example_commands()
    assert len(commands) == 8
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


def test_the_settings_and_problems_are_those_of_the_code() -> None:
    text = section("Settings")
    for name, field in Settings.model_fields.items():
        assert f"| `MCN_{name.upper()}` | {field.description} |" in text
    assert len(re.findall(r"^\| `MCN_", text, re.MULTILINE)) == len(Settings.model_fields)
    for problem in PROBLEMS:
        assert f"| `{problem.type}` | {problem.status} | {problem.title} |" in text


def picture_of_states() -> str:
    """The graph of states for Mermaid: in, from state to state, out."""
    first = [("[*]", state.value) for state in (State.waiting, State.queued)]
    moves = [(state.value, to.value) for state, targets in TRANSITIONS.items() for to in targets]
    last = [(state.value, "[*]") for state in TERMINAL_STATES]
    return "".join(["stateDiagram-v2\n", *(f"    {state} --> {to}\n" for state, to in (*first, *moves, *last))])


def test_the_picture_of_states_is_drawn_from_their_graph() -> None:
    text = section("How a job travels")
    assert f"```mermaid\n{picture_of_states()}```\n" in text
    assert blocks("mermaid") == [picture_of_states()]


def test_the_picture_of_states_has_every_state_and_reason() -> None:
    text = section("How a job travels")
    assert [state.value for state in State if state.value not in text] == []
    told = text[text.index("A failed job has a `reason`") :]
    assert set(re.findall(r"`([a-z_]+)`", told)) - {"reason", "retry"} == {reason.value for reason in Reason}


def test_every_command_in_it_is_there() -> None:
    have = set(CliRunner().invoke(mcn, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    named = set(re.findall(r"^mcn ([a-z]+)", section("The same with `mcn`") + section("Sweeps"), re.MULTILINE))
    assert named <= have
    assert {"train", "jobs", "watch", "sweep", "leaderboard"} <= named


def test_the_curl_commands_run_as_they_are_written(up: Running, tmp_path: Path) -> None:
    need("curl", "curl")
    block = "".join(block for block in blocks("bash") if "mcurl" in block)
    script = block.replace("http://127.0.0.1:8000", up.settings.api_url)
    script = script.replace("~/.local/share/mcn", str(up.settings.data_dir))
    assert script != block
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "event: state" in done.stdout
    assert '"detail":' not in done.stdout, done.stdout[-2000:]
    assert load_component(tmp_path / "fusion.pth").role == "fusion"
    assert load_component(tmp_path / "expert_0.safetensors").role == "expert"


def check_specification(text: str) -> None:
    """A job's, or a sweep's with all its points."""
    data = read_mapping(text)
    if "grid" in data:
        asked = parse_sweep(data)
        assert plan(Settings(), asked.name, asked.base, asked.grid, list(points(asked.grid)))
    else:
        parse_text(text)


def test_every_specification_in_it_is_one() -> None:
    assert any("grid:" in block for block in blocks("yaml"))
    for block in blocks("yaml"):
        check_specification(block)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: str(path.name))
def test_every_example_is_a_specification(file: Path) -> None:
    check_specification(file.read_text())


def test_the_sweep_of_fusion_types_has_all_of_them() -> None:
    sweep = read_mapping((ROOT / "examples/digits/sweep_fusion_types.yaml").read_text())
    assert set(sweep["grid"]["fusion.type"]) == set(FUSION_TYPES)


def test_every_fusion_type_and_architecture_is_named() -> None:
    text = section("A specification")
    names = [*FUSION_TYPES, *(name for name in ARCHITECTURES if not name.startswith("convnet"))]
    assert [name for name in names if name not in text] == []


def test_every_make_target_in_it_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", README, re.MULTILINE)) <= targets


def test_a_new_fusion_module_is_as_short_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(   class.*?)   ```", README, re.DOTALL)
    assert found
    module_of_it = ModuleType("core.fusion.maximum")
    module_of_it.__dict__.update({"Combine": Combine, "Tensor": torch.Tensor, "torch": torch})
    exec(textwrap.dedent(found[1]), module_of_it.__dict__)
    monkeypatch.setitem(sys.modules, "core.fusion.maximum", module_of_it)
    row = replace(FUSION_TYPES["multiplicative"], implementation="core.fusion.maximum:Maximum")
    monkeypatch.setitem(FUSION_TYPES, "maximum", row)
    module = FusionModule("maximum", [3, 3], options=FusionOptions(norm=False, mlp=False))
    assert module([torch.zeros(2, 3), torch.ones(2, 3)]).equal(torch.ones(2, 3))
