"""The documentation is held to the code: its commands run, its specifications parse, its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

from app.cli.main import app as mcn
from app.jobs.schemas import JobView
from app.settings import Settings
from app.sweeps.grid import points
from app.sweeps.placement import plan
from app.sweeps.validation import parse_sweep
from core.__main__ import app as core
from core.components import load_component
from core.experts import Expert, detect_feature_dim
from core.fusion import Combine, FusionModule
from core.spec import FUSION_TYPES, FusionOptions, parse_spec, parse_text, read_mapping
from core.spec.resources import Resources
from docs.generate.cli import commands as all_commands
from tests.documentation import PAGES, ROOT, blocks, commands, curl_scripts
from tests.e2e.running import Running
from tests.parts import need

# For a machine that is slow and busy: the scripts train a job or two for one epoch.
LIMIT_S = 600.0


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) < 220


def shortened(script: str) -> str:
    """The same commands for one epoch of training."""
    return re.sub(r'("epochs": |--epochs )\d+', r"\g<1>1", script)


@pytest.mark.parametrize("page", curl_scripts())
def test_the_curl_commands_run_as_they_are_written(page: str, up: Running, tmp_path: Path) -> None:
    need("curl", "curl")
    script = shortened(curl_scripts()[page])
    for written, here in (
        ("http://127.0.0.1:8000", up.settings.api_url),
        ("~/.local/share/mcn", str(up.settings.data_dir)),
    ):
        assert written in script
        script = script.replace(written, here)
    command = ["bash", "-eu", "-o", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert '"detail":' not in done.stdout, done.stdout[-2000:]
    if page == "README.md":
        assert "event: state" in done.stdout
        assert load_component(tmp_path / "fusion.pth").role == "fusion"
        assert load_component(tmp_path / "expert_0.safetensors").role == "expert"


def test_the_mcn_commands_of_the_readme_run_as_they_are_written(
    up: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MCN_DATA_DIR", str(up.settings.data_dir))
    monkeypatch.setenv("MCN_PORT", str(up.settings.port))
    [block] = [text for text in blocks("README.md", "bash") if "mcn train" in text]
    job_id = ""
    for line in shortened(block).splitlines():
        stored = re.fullmatch(r"ID=\$\((.*)\)", line)
        program, *words = shlex.split((stored[1] if stored else line).replace("$ID", job_id), comments=True)
        if program == "mcn":
            quick = ["--set", "training.epochs=1"] if words[0] == "submit" else []
            done = CliRunner().invoke(mcn, [*words, *quick], catch_exceptions=False)
            assert done.exit_code == 0, (line, done.output)
            job_id = done.stdout.strip() if stored else job_id
        else:
            assert program == "source", line
    assert load_component(tmp_path / "weights/expert_0_best.pth").role == "expert"


@pytest.mark.parametrize("words", commands("mcn"), ids=" ".join)
def test_every_mcn_command_has_the_options_it_is_shown_with(words: list[str]) -> None:
    # Commands on sweeps refuse the id of a job.
    example_id = "swp_1" if words[0] == "leaderboard" else "job_1"
    called = [example_id if word in ("ID", "$ID") else word for word in words]
    by_path = dict(all_commands(typer.main.get_command(mcn), "mcn"))
    length = next(n for n in (2, 1) if " ".join(["mcn", *called[:n]]) in by_path)
    # Raises for an unknown option, a missing argument or a value of the wrong type.
    by_path[" ".join(["mcn", *called[:length]])].make_context("mcn", called[length:])


@pytest.mark.slow
def test_training_without_the_service_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    calls = [
        [word.replace("$k", str(k)) for word in words]
        for words in commands("python -m core")
        for k in (range(4) if any("$k" in word for word in words) else [0])
    ]
    assert len(calls) == 10
    for words in calls:
        quick = ["--set", "training.epochs=1"] if words[0] == "train" else []
        done = CliRunner().invoke(core, [*words, *quick], catch_exceptions=False)
        assert done.exit_code == 0, (words, done.stderr)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(blocks("docs/core.md", "python")[0], {})
    assert re.fullmatch(r"(\[(\d, ){7}\d\] ?){2}\n", printed.getvalue())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(blocks("docs/core.md", "python")[1], {})
    result = json.loads((tmp_path / "runs/digits/fusion/result.json").read_text())
    for line in printed.getvalue().splitlines():
        path, *_, accuracy = line.split()
        assert float(accuracy) == round(result["metrics"][f"test/accuracy_{path}"], 4)
    section = PAGES["docs/core.md"].split("## What is in a run directory\n")[1].split("\n## ")[0]
    paths = re.findall(r"^\| `([a-z]\S*?)`", section, re.MULTILINE)
    assert len(paths) > 7
    assert [path for path in paths if not (tmp_path / "runs/digits/fusion" / path).exists()] == []


def check_specification(text: str) -> None:
    """A job's specification, or a sweep's with all its points."""
    data = read_mapping(text)
    if "grid" in data:
        sweep = parse_sweep(data)
        assert plan(Settings(), sweep.name, sweep.base, sweep.grid, list(points(sweep.grid)))
    else:
        parse_text(text)


YAML = [(page, text) for page in PAGES for text in blocks(page, "yaml")]
JSON = [(page, text) for page in PAGES for text in blocks(page, "json")]


@pytest.mark.parametrize(("page", "text"), YAML, ids=[page for page, _ in YAML])
def test_every_yaml_block_is_a_valid_specification(page: str, text: str) -> None:
    check_specification(text)


@pytest.mark.parametrize(("page", "text"), JSON, ids=[page for page, _ in JSON])
def test_every_json_block_is_valid(page: str, text: str) -> None:
    data = json.loads(text)
    if "job" in data:
        # tests/worker/test_webhooks.py has what is sent.
        assert set(data["job"]) < set(JobView.model_fields) | {"sweep"}
    elif "kind" in data:
        parse_spec(data)
    else:
        Resources.model_validate_json(text)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: str(path.name))
def test_every_example_is_a_valid_specification(file: Path) -> None:
    check_specification(file.read_text())


def test_the_sweep_of_fusion_types_has_all_of_them() -> None:
    sweep = read_mapping((ROOT / "examples/digits/sweep_fusion_types.yaml").read_text())
    assert set(sweep["grid"]["fusion.type"]) == set(FUSION_TYPES)


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in slugs(str(file.relative_to(ROOT))), target


@pytest.mark.parametrize("page", sorted(set(PAGES) - {"CHANGELOG.md"}))
def test_every_file_it_names_exists(page: str) -> None:
    named = re.findall(r"`((?:app|core|docs|examples|migrations|tests|worker)/[\w/.-]*)`", PAGES[page])
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_index() -> None:
    missing = [
        page for page in PAGES if page.startswith("docs/") and page.removeprefix("docs/") not in PAGES["docs/index.md"]
    ]
    assert [page for page in missing if page != "docs/index.md"] == []


def test_every_glossary_entry_is_in_order() -> None:
    entries = re.findall(r"^\| ([a-z][\w \-]*) \|", PAGES["docs/glossary.md"], re.MULTILINE)[1:]
    assert len(entries) > 30
    assert entries == sorted(entries)


MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_in_it_exists(page: str) -> None:
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)\b", PAGES[page], re.MULTILINE)) <= TARGETS


def test_continuous_integration_and_pre_commit_run_the_make_targets() -> None:
    assert re.findall(r"^make ([a-z]+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE) == ["setup", "lint", "test"]
    [repository] = read_mapping((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    [hook] = repository["hooks"]
    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make lint", "system")


def documented_module(name: str, needs: str, names: dict[str, Any]) -> ModuleType:
    """The module that an example in docs/extending.md writes, with the names that it would import."""
    [text] = [text for text in blocks("docs/extending.md", "python") if needs in text]
    module = ModuleType(name)
    module.__dict__.update(names)
    exec(text, module.__dict__)
    return module


def test_a_new_fusion_module_is_as_short_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "core.fusion.maximum"
    names = {"Combine": Combine, "Tensor": Tensor, "torch": torch}
    monkeypatch.setitem(sys.modules, name, documented_module(name, "Combine", names))
    row = replace(FUSION_TYPES["multiplicative"], implementation=f"{name}:Maximum")
    monkeypatch.setitem(FUSION_TYPES, "maximum", row)
    module = FusionModule("maximum", [3, 3], options=FusionOptions(norm=False, mlp=False))
    assert module([torch.zeros(2, 3), torch.ones(2, 3)]).equal(torch.ones(2, 3))


def test_a_new_architecture_is_as_short_as_it_says() -> None:
    module = documented_module("core.experts.linear", "Expert", {"Expert": Expert, "Tensor": Tensor, "nn": nn})
    expert = module.Linear(num_classes=5, in_channels=3)
    features, logits = expert(torch.zeros(2, 3, 8, 8))
    assert features.shape == (2, 16) == (2, detect_feature_dim(expert, 3, 8))
    assert logits.shape == (2, 5)
