from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.components import load_component, read_component_manifest
from core.data import job_data, npz
from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.policies import rate_at
from core.spec import FUSION_TYPES, Schedule, parse_spec
from core.train.checkpoint import load_checkpoint, load_newest, save_checkpoint
from core.train.non_finite import NonFiniteLossError
from tests.core.jobs import component, expert, fusion, run, run_logged


def weights(run_dir: Path) -> dict[str, Tensor]:
    """The model's state in the newest checkpoint."""
    saved = load_newest(run_dir / "checkpoints", lambda damage: None)
    assert saved is not None
    return dict(saved.state["model"])


def components(run_dir: Path) -> dict[str, str]:
    """The digest of every component."""
    return {
        file.stem: (read_component_manifest(run_dir / "components", file.stem) or {})["content_sha256"]
        for file in sorted((run_dir / "components").glob("*.json"))
    }


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def metric_keys(events: list[dict[str, Any]]) -> set[str]:
    return {key for event in events if event["kind"] == "metrics" for key in event["data"]["values"]}


# Run directory, specification and events.
Trained = tuple[Path, dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A fusion of two fresh experts, trained for two epochs."""
    run_dir = tmp_path_factory.mktemp("trained")
    spec = fusion()
    _, events = run_logged(spec, run_dir)
    return run_dir, spec, events


def test_a_fusion_job_reports_every_metric(trained: Trained) -> None:
    expected = {"train/loss_total", "train/loss_global", "train/loss_individual", "train/loss_distillation"}
    expected |= {"train/winning_share_expert_0", "train/winning_share_expert_1"}
    expected |= {"train/accuracy_fused", "val/loss_global", "lambda", "throughput/images_per_s", "system/rss_gb"}
    expected |= {f"{kind}/{name}" for kind in ("lr", "grad_norm", "clipped") for name in ("experts", "fusion", "head")}
    paths = ("fused", "expert_0", "expert_1", "ensemble", "ensemble_logits", "ensemble_probabilities")
    expected |= {f"{split}/accuracy_{path}" for split in ("val", "test") for path in paths}
    expected |= {"val/accuracy_oracle", "val/disagreement", "test/accuracy_oracle", "test/disagreement"}
    expected |= {"test/nll", "test/ece"}
    expected |= {
        f"test/{name}_expert_{k}" for name in ("contribution", "accuracy_without", "shapley") for k in range(2)
    }
    expected |= {
        f"{split}/{key}" for split in ("train", "val") for key in ("ambiguity", "average_loss", "ensemble_loss")
    }
    expected |= {"val/collusion", "train/gradient_cosine"}
    assert metric_keys(trained[2]) == expected


def test_what_was_not_measured_is_absent_with_a_reason(
    trained: Trained,
) -> None:
    run_dir, spec, events = trained
    values = [v for event in events if event["kind"] == "metrics" for v in event["data"]["values"].values()]
    assert all(value is not None and math.isfinite(value) for value in values)
    result = run(spec, run_dir)
    assert "test/accuracy_expert_0_before" not in result.metrics
    assert result.absent["test/accuracy_expert_0_before"] == "the expert started untrained"
    [[zero, differ], [mirrored, _]] = result.pairwise_disagreement
    assert (zero, mirrored) == (0.0, differ)
    assert differ == pytest.approx(result.metrics["test/disagreement"])


def test_steps_of_a_series_rise_and_progress_ends_at_one(
    trained: Trained,
) -> None:
    events = trained[2]
    steps = [
        event["data"]["step"]
        for event in events
        if event["kind"] == "metrics" and "train/loss_total" in event["data"]["values"]
    ]
    assert steps == sorted(set(steps))
    last = [event["data"] for event in events if event["kind"] == "progress"][-1]
    assert (last["epoch"], last["step"]) == (last["epochs"], last["steps"])
    assert [event["data"]["state"] for event in events if event["kind"] == "state"] == ["running", "succeeded"]
    assert next(event for event in events if event["kind"] == "config")["data"]["learning_rates"][
        "experts"
    ] == pytest.approx(1.3e-4)


def test_a_run_reports_every_complete_checkpoint(trained: Trained) -> None:
    run_dir, _, events = trained
    steps = [event["data"]["step"] for event in events if event["kind"] == "checkpoint"]
    folders = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert folders == [f"step-{step:09d}" for step in steps]


def test_a_run_saves_every_component_under_its_well_known_name(
    trained: Trained,
) -> None:
    run_dir = trained[0]
    for name in ("expert_0", "expert_1", "fusion", "head", "complete"):
        manifest = read_component_manifest(run_dir / "components", name)
        assert manifest is not None
        assert component(run_dir, name).is_file()
    complete = load_component(component(run_dir, "complete"))
    assert complete.config["fusion"]["feature_dims"] == [16, 16]
    manifests = [read_component_manifest(run_dir / "components", name) for name in ("fusion", "head", "complete")]
    assert len({(m or {})["epoch"] for m in manifests}) == 1


def test_a_finished_run_is_not_trained_again(trained: Trained) -> None:
    run_dir, spec, _ = trained
    before = (run_dir / "result.json").stat().st_mtime_ns
    assert run(spec, run_dir).state == "succeeded"
    assert (run_dir / "result.json").stat().st_mtime_ns == before


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(fusion(epochs=1, seed=seed), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert components(tmp_path / "a") == components(tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


JOBS = {
    "expert": expert(epochs=2, augmentation={"cutmix_alpha": 1.0, "mixup_alpha": 0.2}),
    "fusion": fusion(count=2, epochs=3, components={"experts": {"accumulation_steps": 2}}),
    "expert dropout": fusion(count=3, epochs=2, fusion={"expert_dropout": 0.4}),
}


@pytest.mark.parametrize("kind", JOBS)
def test_a_run_stopped_at_every_step_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """With warm restarts, accumulation over two batches, MixUp and CutMix, dropout, and stops within an epoch."""
    spec = JOBS[kind]
    straight, straight_events = run_logged(spec, tmp_path / "straight")
    stops = 0
    for _ in range(1000):
        result, events = run_logged(spec, tmp_path / "stopped", should_stop=lambda: True)
        if result.state == "succeeded":
            break
        stops += 1
        assert result.step == stops
    assert stops == straight.step - 1
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "stopped"))
    assert components(tmp_path / "straight") == components(tmp_path / "stopped")
    assert result.metrics == straight.metrics

    def series(of: list[dict[str, Any]], key: str) -> dict[int, float]:
        metrics = [event["data"] for event in of if event["kind"] == "metrics"]
        return {data["step"]: data["values"][key] for data in metrics if key in data["values"]}

    for key in ("train/loss_total", "grad_norm/experts", "val/accuracy_expert_0", "lr/experts"):
        assert series(events, key) == series(straight_events, key), key


def test_a_run_stops_within_one_step(tmp_path: Path) -> None:
    steps = itertools.count(1)
    result = run(fusion(epochs=5), tmp_path, should_stop=lambda: next(steps) >= 4)
    assert (result.state, result.step) == ("stopped", 4)


def test_checkpoints_are_written_and_kept_as_specified(tmp_path: Path) -> None:
    spec = fusion(epochs=4) | {"checkpoint": {"every_epochs": 2, "keep": 1}}
    run(spec, tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    often = fusion(epochs=2) | {"checkpoint": {"every_epochs": 1, "every_steps": 1, "keep": 100}}
    run(often, tmp_path / "often")
    assert len(list((tmp_path / "often/checkpoints").iterdir())) == 2 * 4


@pytest.mark.parametrize("frozen", ["experts", "fusion", "head"])
def test_a_frozen_component_does_not_change_by_a_bit(frozen: str, tmp_path: Path) -> None:
    policies = {name: {"frozen": name == frozen, "lr": 0.01} for name in ("experts", "fusion", "head")}
    run(fusion(epochs=1, components=policies) | {"checkpoint": {"every_steps": 1, "keep": 50}}, tmp_path)
    first, *_, last = (load_checkpoint(path).state["model"] for path in sorted((tmp_path / "checkpoints").iterdir()))
    for name in ("experts", "fusion", "head"):
        own = [key for key in first if key.startswith(f"{name}.")]
        changed = [key for key in own if not torch.equal(first[key], last[key])]
        assert bool(changed) == (name != frozen), name


def test_a_run_resumes_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    spec = fusion(epochs=3)
    run(spec, tmp_path / "straight")
    stop = itertools.count(1)
    run(spec, tmp_path / "hurt", should_stop=lambda: next(stop) >= 9)
    newest = sorted((tmp_path / "hurt/checkpoints").iterdir())[-1] / "state.pth"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    newest.write_bytes(damaged)
    _, events = run_logged(spec, tmp_path / "hurt")
    [alert] = [event["data"] for event in events if event["kind"] == "alert"]
    assert str(newest) in alert["message"]
    messages = [event["data"]["message"] for event in events if event["kind"] == "log"]
    assert "resuming from step 8" in messages[0]
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "hurt"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_good_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(schedule: Schedule, lr: float, epoch: int, epochs: int) -> float:
        is_experts = lr < 2e-4
        return 1e30 if is_experts and epoch >= 2 else rate_at(schedule, lr, epoch, epochs)

    monkeypatch.setattr("core.policies.component_optimizers.rate_at", explode)
    spec = fusion(epochs=4) | {"checkpoint": {"every_steps": 1, "keep": 100}}
    with pytest.raises(NonFiniteLossError, match="first non-finite values: experts") as caught:
        run(spec, tmp_path)
    assert caught.value.step > 8
    saved = [load_checkpoint(path) for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert [checkpoint.step for checkpoint in saved] == list(range(1, caught.value.step + 1))
    for checkpoint in saved:
        assert all(torch.isfinite(v).all() for v in checkpoint.state["model"].values() if v.is_floating_point())
    manifests = [read_component_manifest(tmp_path / "components", name) for name in components(tmp_path)]
    assert {manifest["epoch"] for manifest in manifests if manifest} <= {1, 2}


def test_validation_outputs_that_are_not_finite_fail_the_job_and_name_the_expert(tmp_path: Path) -> None:
    """Batch statistics keep the training loss finite while the running statistics are broken."""
    spec = fusion(epochs=3)
    stop = itertools.count(1)
    run(spec, tmp_path, should_stop=lambda: next(stop) >= 5)
    saved = load_newest(tmp_path / "checkpoints", lambda damage: None)
    assert saved is not None
    key = next(key for key in saved.state["model"] if key.startswith("experts.1.") and key.endswith("running_mean"))
    saved.state["model"][key].fill_(torch.nan)
    save_checkpoint(tmp_path / "checkpoints", saved.state, step=saved.step, epoch=saved.epoch, keep=5)
    before = components(tmp_path)
    with pytest.raises(NonFiniteLossError, match="the validation output of expert_1 was not finite") as caught:
        run(spec, tmp_path)
    assert caught.value.component == "expert_1"
    assert components(tmp_path) == before


def test_the_as_run_preset_trains(tmp_path: Path) -> None:
    result, events = run_logged(fusion(epochs=1, preset="as_run", fusion={"type": "additive"}), tmp_path)
    assert result.state == "succeeded"
    rates = [e["data"]["values"] for e in events if e["kind"] == "metrics" and "lr/experts" in e["data"]["values"]]
    assert {(v["lr/experts"], v["lr/fusion"], v["lr/head"]) for v in rates} == {(1e-5, 1e-3, 1e-3)}
    assert all(v["train/loss_distillation"] == 0.0 for v in rates)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_every_fusion_type_trains(fusion_type: str, tmp_path: Path) -> None:
    assert run(fusion(epochs=1, fusion={"type": fusion_type}), tmp_path).state == "succeeded"


def test_a_job_reads_its_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(60) % 3)
    calls: list[str] = []

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counted(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return original(*args, **options)

        monkeypatch.setattr(module, name, counted)

    count(npz, "read_arrays")
    count(npz, "pixel_statistics")
    count(job_data, "make_splits")
    spec = expert(epochs=1, batch_size=16, dataset={"name": "npz:data.npz"})
    run(spec, tmp_path / "run", data_roots=[tmp_path])
    assert sorted(calls) == ["make_splits", "pixel_statistics", "read_arrays"]
    run(spec, tmp_path / "run", data_roots=[tmp_path])
    assert len(calls) == 3, "a finished run needs no data"
    parsed = parse_spec(spec)
    make_plan(parsed, find_data_size(parsed, [tmp_path]), {})
    assert sorted(calls[3:]) == ["make_splits", "pixel_statistics", "read_arrays"]
