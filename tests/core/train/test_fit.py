from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.components import load_component, read_component_manifest
from core.model.assemble import ComponentError
from core.spec import FUSION_TYPES
from core.train.checkpoint import load_newest
from core.train.meter import NonFiniteLossError
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


def keys_of(events: list[dict[str, Any]]) -> set[str]:
    return {key for event in events if event["kind"] == "metrics" for key in event["data"]["values"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A fusion of two fresh experts, trained for two epochs."""
    run_dir = tmp_path_factory.mktemp("trained")
    spec = fusion()
    _, events = run_logged(spec, run_dir)
    return run_dir, spec, events


def test_a_fusion_job_reports_every_metric(trained: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    wanted = {"train/loss_total", "train/loss_global", "train/loss_individual", "train/loss_distillation"}
    wanted |= {"train/accuracy_fused", "val/loss_global", "val/accuracy_fused", "val/accuracy_ensemble"}
    wanted |= {"val/accuracy_expert_0", "val/accuracy_expert_1", "lambda", "throughput/images_per_s", "system/rss_gb"}
    wanted |= {f"{kind}/{name}" for kind in ("lr", "grad_norm", "clipped") for name in ("experts", "fusion", "head")}
    wanted |= {f"test/accuracy_{name}" for name in ("fused", "expert_0", "expert_1", "ensemble", "oracle")}
    wanted |= {"test/nll", "test/ece", "test/disagreement"}
    assert keys_of(trained[2]) == wanted


def test_nothing_is_reported_that_was_not_measured(trained: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    run_dir, spec, events = trained
    values = [v for event in events if event["kind"] == "metrics" for v in event["data"]["values"].values()]
    assert all(value is not None and math.isfinite(value) for value in values)
    result = run(spec, run_dir)
    assert "test/accuracy_expert_0_before" not in result.metrics
    assert result.absent["test/accuracy_expert_0_before"] == "the expert started untrained"


def test_steps_of_a_series_rise_and_progress_ends_at_one(
    trained: tuple[Path, dict[str, Any], list[dict[str, Any]]],
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


def test_a_run_leaves_every_component_in_its_place(trained: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    run_dir = trained[0]
    for name in ("expert_0", "expert_1", "fusion", "head", "complete"):
        manifest = read_component_manifest(run_dir / "components", name)
        assert manifest is not None
        assert component(run_dir, name).is_file()
    complete = load_component(component(run_dir, "complete"))
    assert complete.config["fusion"]["feature_dims"] == [16, 16]
    manifests = [read_component_manifest(run_dir / "components", name) for name in ("fusion", "head", "complete")]
    assert len({(m or {})["epoch"] for m in manifests}) == 1


def test_a_finished_run_is_not_trained_again(trained: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    run_dir, spec, _ = trained
    before = (run_dir / "result.json").stat().st_mtime_ns
    assert run(spec, run_dir).state == "succeeded"
    assert (run_dir / "result.json").stat().st_mtime_ns == before


def test_a_run_directory_goes_on_only_with_its_own_specification(
    trained: tuple[Path, dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    spec = fusion(epochs=1)
    run(spec, tmp_path, should_stop=lambda: True)
    with pytest.raises(ValueError, match=r"differs in training\.epochs"):
        run(fusion(epochs=2), tmp_path)
    moved = spec | {"name": "renamed", "priority": 5, "resources": {"cpus": 1, "executor": "slurm"}}
    assert run(moved, tmp_path).state == "succeeded"


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(fusion(epochs=1, seed=seed), tmp_path / name)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert components(tmp_path / "a") == components(tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


JOBS = {
    "expert": expert(epochs=2, augmentation={"cutmix_alpha": 1.0, "mixup_alpha": 0.2}),
    "fusion": fusion(count=2, epochs=5, components={"experts": {"accumulation_steps": 2}}),
}


@pytest.mark.parametrize("kind", JOBS)
def test_a_run_stopped_at_every_step_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """With restarts, accumulation over two batches, MixUp and CutMix, dropout, and stops in the middle of an epoch."""
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


def test_asked_to_stop_it_stops_within_one_step(tmp_path: Path) -> None:
    asked = itertools.count(1)
    result = run(fusion(epochs=5), tmp_path, should_stop=lambda: next(asked) >= 4)
    assert (result.state, result.step) == ("stopped", 4)


def test_checkpoints_come_as_often_and_stay_as_many_as_the_specification_says(tmp_path: Path) -> None:
    spec = fusion(epochs=4) | {"checkpoint": {"every_epochs": 2, "keep": 1}}
    run(spec, tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    often = fusion(epochs=2) | {"checkpoint": {"every_epochs": 1, "every_steps": 1, "keep": 100}}
    run(often, tmp_path / "often")
    assert len(list((tmp_path / "often/checkpoints").iterdir())) == 2 * 4


@pytest.mark.parametrize("frozen", ["experts", "fusion", "head"])
def test_a_frozen_component_does_not_change_by_a_bit(frozen: str, tmp_path: Path) -> None:
    given = {name: {"frozen": name == frozen, "lr": 0.01} for name in ("experts", "fusion", "head")}
    run(fusion(epochs=1, components=given) | {"checkpoint": {"every_steps": 1, "keep": 50}}, tmp_path)
    from core.train.checkpoint import load_checkpoint

    first, *_, last = (load_checkpoint(path).state["model"] for path in sorted((tmp_path / "checkpoints").iterdir()))
    for name in ("experts", "fusion", "head"):
        own = [key for key in first if key.startswith(f"{name}.")]
        changed = [key for key in own if not torch.equal(first[key], last[key])]
        assert bool(changed) == (name != frozen), name


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(tmp_path: Path) -> None:
    spec = fusion(epochs=3)
    run(spec, tmp_path / "straight")
    stop = itertools.count(1)
    run(spec, tmp_path / "hurt", should_stop=lambda: next(stop) >= 9)
    newest = sorted((tmp_path / "hurt/checkpoints").iterdir())[-1] / "state.pth"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    newest.write_bytes(damaged)
    _, events = run_logged(spec, tmp_path / "hurt")
    said = [event["data"]["message"] for event in events if event["kind"] == "log"]
    assert str(newest) in said[0]
    assert "going on from step 8" in said[1]
    assert same(weights(tmp_path / "straight"), weights(tmp_path / "hurt"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_good_checkpoint(tmp_path: Path) -> None:
    wild = {"experts": {"lr": 1e9, "clip_norm": 0, "optimizer": "sgd"}, "fusion": {}, "head": {}}
    with pytest.raises(NonFiniteLossError, match="experts went bad first") as caught:
        run(fusion(epochs=9, components=wild), tmp_path)
    assert caught.value.step >= 1
    saved = load_newest(tmp_path / "checkpoints", lambda damage: None)
    if saved:
        assert saved.step <= caught.value.step
        assert all(torch.isfinite(v).all() for v in saved.state["model"].values() if v.is_floating_point())


def test_the_as_run_preset_trains(tmp_path: Path) -> None:
    result, events = run_logged(fusion(epochs=1, preset="as_run", fusion={"type": "additive"}), tmp_path)
    assert result.state == "succeeded"
    rates = [e["data"]["values"] for e in events if e["kind"] == "metrics" and "lr/experts" in e["data"]["values"]]
    assert {(v["lr/experts"], v["lr/fusion"], v["lr/head"]) for v in rates} == {(1e-5, 1e-3, 1e-3)}
    assert all(v["train/loss_distillation"] == 0.0 for v in rates)


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_every_fusion_type_trains(fusion_type: str, tmp_path: Path) -> None:
    assert run(fusion(epochs=1, fusion={"type": fusion_type}), tmp_path).state == "succeeded"


def test_experts_that_came_from_elsewhere_are_measured_as_they_were(tmp_path: Path) -> None:
    for shard in (0, 1):
        run(expert(shard, epochs=4), tmp_path / f"e{shard}")
    spec = fusion(dataset=expert()["dataset"]) | {
        "experts": [{"from": {"path": str(component(tmp_path / f"e{k}", "expert_0"))}} for k in (0, 1)]
    }
    result = run(spec, tmp_path / "joint")
    alone = [run(expert(shard, epochs=4), tmp_path / f"e{shard}").metrics["test/accuracy_expert_0"] for shard in (0, 1)]
    before = [result.metrics[f"test/accuracy_expert_{k}_before"] for k in (0, 1)]
    assert before == pytest.approx(alone)
    config = load_component(component(tmp_path / "joint", "expert_0")).config
    assert config["num_classes"] == 10
    assert config["source"]["sha256"] == load_component(component(tmp_path / "e0", "expert_0")).sha256

    # A new head on the two, frozen; then all of it measured again without training.
    named = {"experts": [{"from": {"path": str(component(tmp_path / "joint", f"expert_{k}"))}} for k in (0, 1)]}
    named["fusion"] = {"from": {"path": str(component(tmp_path / "joint", "fusion"))}}  # type: ignore[assignment]
    head = {"kind": "head", "dataset": spec["dataset"], "training": {"epochs": 1}, "resources": {"cpus": 1}, **named}
    run(head, tmp_path / "head")
    for name in ("expert_0", "fusion"):
        ours, theirs = (load_component(component(tmp_path / place, name)) for place in ("head", "joint"))
        assert same(ours.state_dict, theirs.state_dict)
    ours, theirs = (load_component(component(tmp_path / place, "head")) for place in ("head", "joint"))
    assert not same(ours.state_dict, theirs.state_dict)


def test_a_component_that_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    run(fusion(count=2, epochs=1), tmp_path / "two")
    run(fusion(count=2, epochs=1) | {"experts": [{"arch": "convnet_small", "feature_dim": 24}]}, tmp_path / "wide")
    two = {"from": {"path": str(component(tmp_path / "two", "fusion"))}}
    cases: list[tuple[dict[str, Any], str]] = [
        (fusion(count=3, fusion=two), "expects 2 experts; the specification has 3"),
        (
            fusion(count=2, fusion=two) | {"experts": [{"arch": "convnet_small", "feature_dim": 24}]},
            r"\[16, 16\].*\[24, 24\]",
        ),
        (
            fusion(count=2, fusion={**two, "type": "concatenation"}),
            "fusion.type is concatenation, but .* has multiplicative",
        ),
        (fusion(count=2) | {"experts": [two]}, "role fusion; expected role expert"),
        (
            fusion(count=2) | {"head": {"from": {"path": str(component(tmp_path / "wide", "head"))}}},
            "expects 24 fused features; this fusion module has 16",
        ),
        (
            fusion(count=2) | {"head": {"from": {"path": str(tmp_path / "none.pth")}}},
            "does not exist",
        ),
        (
            fusion(count=2)
            | {"experts": [{"from": {"job": "job_01J00000000000000000000000", "component": "expert_0"}}]},
            "only the service can look up",
        ),
    ]
    for number, (spec, says) in enumerate(cases):
        with pytest.raises(ValueError, match=says):
            run(spec, tmp_path / f"refused{number}")
    assert issubclass(ComponentError, ValueError)


def test_experts_of_different_dimensions_get_adapters_and_any_fusion(tmp_path: Path) -> None:
    spec = fusion(epochs=1) | {
        "experts": [{"arch": "convnet_small", "feature_dim": 16}, {"arch": "convnet_small_gn", "feature_dim": 24}],
        "num_experts": 2,
    }
    run(spec, tmp_path)
    fused = load_component(component(tmp_path, "fusion"))
    assert (fused.config["feature_dims"], fused.config["input_dim"]) == ([16, 24], 24)
    assert "adapters.0.weight" in fused.state_dict
    assert "adapters.1.weight" not in fused.state_dict


def test_frozen_experts_that_know_some_classes_keep_their_own_heads(tmp_path: Path) -> None:
    for shard in (0, 1):
        run(expert(shard=shard, epochs=2), tmp_path / f"expert_{shard}")
    named = [{"from": {"path": str(component(tmp_path / f"expert_{k}", "expert_0"))}} for k in (0, 1)]
    spec = fusion(dataset=expert()["dataset"], epochs=2, components={"experts": {"frozen": True}}) | {"experts": named}
    result, events = run_logged(spec, tmp_path / "joint")
    for k in (0, 1):
        assert result.metrics[f"test/accuracy_expert_{k}"] == result.metrics[f"test/accuracy_expert_{k}_before"] > 0.1
        ours = load_component(component(tmp_path / "joint", f"expert_{k}"))
        theirs = load_component(component(tmp_path / f"expert_{k}", "expert_0"))
        assert same(ours.state_dict, theirs.state_dict)
        assert ours.config["classes"] == theirs.config["classes"]
    assert "only some of the classes" in result.absent["test/accuracy_ensemble"]
    assert "train/loss_individual" not in keys_of(events)
    assert "train/loss_global" in keys_of(events)
