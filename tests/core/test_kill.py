"""SIGKILL at random moments: the run resumes and ends with the bits of an uninterrupted one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from core.reporting.event_log import read_events
from core.train.result import read_result
from tests.core.jobs import component, expert, fusion, run
from tests.core.processes import start_core
from tests.core.train.test_fit import components, same, weights

MIXED = {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}
DEADLINE_S = 120.0


def head(folder: Path) -> dict[str, Any]:
    """A head job on the experts and the fusion module of a short run."""
    run(fusion(count=2, epochs=1), folder)
    named = {"experts": [{"from": {"path": str(component(folder, f"expert_{k}"))}} for k in (0, 1)]}
    return {
        "kind": "head",
        **named,
        "fusion": {"from": {"path": str(component(folder, "fusion"))}},
        "dataset": fusion()["dataset"],
        "training": {"epochs": 15, "batch_size": 32},
        "resources": {"cpus": 1},
    }


SPECS: dict[str, Any] = {
    "expert": lambda folder: expert(epochs=10, augmentation=MIXED),
    "fusion": lambda folder: fusion(count=2, epochs=12, components={"experts": {"accumulation_steps": 2}}),
    "annealed": lambda folder: fusion(count=2, epochs=12, loss={"individual": {"type": "annealed"}}),
    "head": head,
    "stages": lambda folder: fusion(
        count=2,
        epochs=12,
        stages=[
            {"epochs": 4, "components": {"experts": {"frozen": True}}},
            {"epochs": 4, "lambda_individual": 0.5, "components": {"head": {"frozen": True}}},
            {"epochs": 4},
        ],
        gradients="pcgrad",
        components={"experts": {"accumulation_steps": 2}},
    ),
}
KILLS = {"stages": 3}


def words(spec: dict[str, Any], run_dir: Path) -> list[str]:
    """The words after `python -m core`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    file = run_dir / "given.json"
    file.write_text(json.dumps(spec))
    return ["train", str(file), "--run-dir", str(run_dir), "--device", "cpu"]


def start(spec: dict[str, Any], run_dir: Path) -> BaseProcess:
    return start_core(words(spec, run_dir), run_dir / "errors.txt")


def step_of(run_dir: Path) -> int:
    steps = [event["data"]["step"] for event in read_events(run_dir / "events.jsonl") if event["kind"] == "metrics"]
    return steps[-1] if steps else 0


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("when", [pytest.param("few"), pytest.param("many", marks=pytest.mark.soak)])
def test_killed_at_random_steps_a_run_ends_with_the_same_bits(kind: str, when: str, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    spec = SPECS[kind](tmp_path / "before") | {"checkpoint": {"every_epochs": 1, "every_steps": 3}}
    straight = run(spec, tmp_path / "straight")
    killed = tmp_path / "killed"
    kills = 0
    for _ in range(20 if when == "many" else KILLS.get(kind, 2)):
        process = start(spec, killed)
        before = step_of(killed)
        goal = before + chance.randrange(1, max(2, (straight.step - before) // 3))
        deadline = time.monotonic() + DEADLINE_S
        while process.is_alive() and step_of(killed) < goal:
            assert time.monotonic() < deadline, "the run makes no progress"
            time.sleep(0.005)
        if process.is_alive():
            # Not only between steps: at any later moment, such as while a checkpoint is written.
            time.sleep(chance.random() * 0.05)
            kills += 1
        process.kill()
        process.join()
    process = start(spec, killed)
    process.join(DEADLINE_S)
    assert process.exitcode == 0, (killed / "errors.txt").read_text()
    assert kills >= 1
    assert same(weights(tmp_path / "straight"), weights(killed))
    assert components(tmp_path / "straight") == components(killed)
    result = read_result(killed)
    assert result.metrics == straight.metrics
    assert result.winning_share_by_class == straight.winning_share_by_class
    series: dict[int, float] = {}
    for event in read_events(killed / "events.jsonl"):
        if event["kind"] == "metrics" and "train/loss_total" in event["data"]["values"]:
            value = event["data"]["values"]["train/loss_total"]
            assert series.setdefault(event["data"]["step"], value) == value


def test_sigterm_checkpoints_and_the_same_command_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "core", *words(fusion(count=2, epochs=40), tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + DEADLINE_S
    while step_of(tmp_path / "run") < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.005)
    process.terminate()
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert b"The same command resumes from there" in errors
    assert weights(tmp_path / "run")
    errors_file = tmp_path / "errors.txt"
    resumed = start_core(command[3:], errors_file)
    resumed.join(DEADLINE_S)
    assert resumed.exitcode == 0, errors_file.read_text()
    assert "resuming from step" in errors_file.read_text()
