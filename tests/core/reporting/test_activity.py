"""Signs of life: few, and only from work that is being done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.reporting import activity
from core.reporting.activity import INTERVAL_S, Activity
from core.spec import parse_spec
from core.train.evaluate_job import evaluate_job
from tests.core.jobs import component, expert, fusion, run, run_logged


class Recorder:
    """Keeps the phases that are reported."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def emit(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "activity":
            self.phases.append(data["phase"])

    def close(self) -> None:
        return


def test_activity_is_reported_at_most_once_in_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(activity, "time", SimpleNamespace(monotonic=lambda: now))
    reporter = Recorder()
    reported = Activity(reporter)
    seen = []
    for item in reported.watch("validation", range(25)):
        seen.append(item)
        now += INTERVAL_S / 10
    assert seen == list(range(25))
    assert reporter.phases == ["validation"] * 2


def test_training_reports_activity_in_every_pass_over_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "INTERVAL_S", 0.0)
    _, events = run_logged(expert(epochs=1), tmp_path)
    phases = [event["data"]["phase"] for event in events if event["kind"] == "activity"]
    assert set(phases) == {"validation", "test", "predictions"}


def test_hashing_many_files_reports_activity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "INTERVAL_S", 0.0)
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((8, 8, 3), 10 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / folder / f"{number}.png")
    dataset = {"name": "imagefolder:images", "image_size": 8, "split": {"regime": "full", "num_shards": 1}}
    reporter = Recorder()
    spec = expert(dataset=dataset, epochs=1)
    result = run(spec, tmp_path / "run", data_roots=[tmp_path], reporter=reporter)
    assert result.state == "succeeded"
    assert reporter.phases[:2] == ["hashing the data"] * 2
    # A run that has succeeded compares its data once more.
    again = Recorder()
    run(spec, tmp_path / "run", data_roots=[tmp_path], reporter=again)
    assert set(again.phases) == {"hashing the data"}


def test_an_evaluation_reports_activity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(fusion(epochs=1), tmp_path / "run")
    monkeypatch.setattr(activity, "INTERVAL_S", 0.0)
    names = {"experts": ["expert_0", "expert_1"], "fusion": "fusion", "head": "head"}
    spec = {name: value for name, value in fusion().items() if name != "training"} | {"kind": "evaluate"}
    spec["experts"] = [{"from": {"path": str(component(tmp_path / "run", name))}} for name in names["experts"]]
    spec |= {name: {"from": {"path": str(component(tmp_path / "run", name))}} for name in ("fusion", "head")}
    reporter = Recorder()
    evaluate_job(parse_spec(spec), tmp_path / "evaluation", reporter=reporter, data_roots=[])  # type: ignore[arg-type]
    assert set(reporter.phases) == {"test", "predictions"}
