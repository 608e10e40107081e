from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.components import load_component, save_component
from core.data import DataShape
from core.model.assemble import ComponentError, build_model, complete_spec, load_sources
from core.reporting.protocol import NullReporter
from core.spec import EvaluateJob, parse_spec
from core.train.checkpoint import load_checkpoint, load_newest, save_checkpoint
from core.train.evaluate_job import evaluate_job
from core.train.result import Result
from tests.core.jobs import component, expert, fusion, run, run_logged
from tests.core.train.test_fit import metric_keys, same

pytestmark = pytest.mark.slow


def test_experts_from_other_jobs_are_measured_as_they_were(tmp_path: Path) -> None:
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
        (fusion(count=3, fusion=two), "is for 2 experts; the specification has 3"),
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
        (fusion(count=2) | {"head": {"from": {"path": str(tmp_path / "none.pth")}}}, "does not exist"),
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


def test_frozen_experts_of_some_classes_keep_their_own_heads(tmp_path: Path) -> None:
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
    assert result.metrics["test/accuracy_ensemble_probabilities"] > 0.1
    assert "train/loss_individual" not in metric_keys(events)
    assert "train/loss_global" in metric_keys(events)


@pytest.fixture(scope="module")
def shard_expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The component of an expert that knows two of the ten digits."""
    run_dir = tmp_path_factory.mktemp("expert")
    run(expert(epochs=1), run_dir)
    return component(run_dir, "expert_0")


def joint(source: Path, **training: Any) -> dict[str, Any]:
    """A fusion of an expert with a new head and one that starts untrained."""
    spec = fusion(dataset=expert()["dataset"], epochs=1, **training)
    return spec | {"experts": [{"from": {"path": str(source)}}, {"arch": "convnet_small"}], "num_experts": 2}


def test_a_new_head_learns_at_the_heads_rate_in_a_group_of_its_own(shard_expert: Path, tmp_path: Path) -> None:
    rates = {"experts": {"lr": 1e-6, "clip_norm": 7.0}, "fusion": {"lr": 1e-2}, "head": {"lr": 1e-2}}
    spec = joint(shard_expert, components=rates) | {"checkpoint": {"every_steps": 1, "keep": 100}}
    _, events = run_logged(spec, tmp_path)
    plan = next(event["data"] for event in events if event["kind"] == "config")
    assert plan["new_expert_heads"] == ["expert_0"]
    assert plan["learning_rates"] == {"experts": 1e-6, "fusion": 1e-2, "head": 1e-2, "expert_heads": 1e-2}
    assert plan["policies"]["expert_heads"] == plan["policies"]["experts"]
    assert {f"{kind}/expert_heads" for kind in ("lr", "grad_norm", "clipped")} <= metric_keys(events)
    first, *_, last = (load_checkpoint(path).state for path in sorted((tmp_path / "checkpoints").iterdir()))
    moved = {
        name: (last["model"][f"experts.{name}"] - first["model"][f"experts.{name}"]).abs().max().item()
        for name in ("0.head.weight", "1.head.weight")
    }
    assert moved["0.head.weight"] > 100 * moved["1.head.weight"] > 0


def test_without_replaced_heads_there_is_no_group_of_theirs(tmp_path: Path) -> None:
    _, events = run_logged(fusion(epochs=1), tmp_path)
    plan = next(event["data"] for event in events if event["kind"] == "config")
    assert set(plan["learning_rates"]) == {"experts", "fusion", "head"}
    assert not any("expert_heads" in key for key in metric_keys(events))


def test_a_run_that_began_without_the_group_resumes_without_it(shard_expert: Path, tmp_path: Path) -> None:
    stops = iter([False, True])
    spec = joint(shard_expert)
    run(spec, tmp_path, should_stop=lambda: next(stops))
    saved = load_newest(tmp_path / "checkpoints", lambda damage: None)
    assert saved is not None
    updates = saved.state["updates"]
    del updates["expert_heads"]
    saved.state["meter"] = {"sums": {}, "counts": {}}
    # The optimizer of the experts, as versions without the group saved it.
    model = build_model(complete_spec(parse_spec(spec), load_sources(parse_spec(spec))), DataShape(1, 8, 10))
    optimizer = torch.optim.AdamW(model.experts.parameters(), lr=1e-4)
    for parameter in model.experts.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    updates["experts"] = {"optimizer": optimizer.state_dict(), "accumulated": 0, "gradients": []}
    save_checkpoint(tmp_path / "checkpoints", saved.state, step=saved.step, epoch=saved.epoch, keep=9)
    result, events = run_logged(spec, tmp_path)
    assert result.state == "succeeded"
    assert not any("expert_heads" in key for key in metric_keys(events))


@pytest.mark.parametrize("source_shard", [0, 2])
def test_an_expert_job_keeps_the_head_of_its_source_only_for_the_same_classes(
    source_shard: int, tmp_path: Path
) -> None:
    """Both shards have two classes; class ids decide, not their number."""
    run(expert(source_shard, epochs=1), tmp_path / "source")
    file = component(tmp_path / "source", "expert_0")
    spec = expert(2, epochs=1, components={"experts": {"lr": 1e-9}})
    spec["expert"]["from"] = {"path": str(file)}
    run(spec, tmp_path / "expert")
    ours = load_component(component(tmp_path / "expert", "expert_0")).state_dict["head.weight"]
    kept = torch.allclose(ours, load_component(file).state_dict["head.weight"], atol=1e-4)
    assert kept == (source_shard == 2)


@pytest.fixture
def four_classes(tmp_path: Path) -> dict[str, Any]:
    """A dataset with fewer classes than the digits."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "four.npz", images=rng.integers(0, 256, (80, 8, 8), dtype=np.uint8), labels=np.arange(80) % 4)
    return {"name": "npz:four.npz"}


def test_an_expert_of_more_classes_gets_a_new_head_and_no_accuracy_before(
    four_classes: dict[str, Any], tmp_path: Path
) -> None:
    run(expert(dataset={"name": "digits"}, epochs=1), tmp_path / "source")
    source = str(component(tmp_path / "source", "expert_0"))
    spec = fusion(dataset=four_classes, epochs=1) | {"experts": [{"from": {"path": source}}], "num_experts": 1}
    result = run(spec, tmp_path / "joint", data_roots=[tmp_path])
    assert result.absent["test/accuracy_expert_0_before"] == "the expert was trained on classes that this dataset lacks"
    spec["training"]["components"] = {"experts": {"frozen": True}}
    with pytest.raises(ComponentError, match="has class 9, but this dataset has 4 classes"):
        run(spec, tmp_path / "frozen", data_roots=[tmp_path])


def poisoned(source: Path, target: Path) -> Path:
    """A copy of an expert whose outputs are not finite."""
    whole = load_component(source)
    state = {key: torch.full_like(v, torch.nan) if key == "head.bias" else v for key, v in whole.state_dict.items()}
    config = {key: value for key, value in whole.config.items() if key not in ("sha256", "format")}
    save_component(target, "expert_0", state, config, epoch=1, step=1, metrics={"m": 0.5}, selected_by="m")
    return target / "experts" / "expert_0_best.pth"


def evaluate_spec(run_dir: Path, **experts: Path) -> EvaluateJob:
    paths = {name: component(run_dir, name) for name in ("expert_0", "expert_1", "fusion", "head")} | experts
    references = {name: {"from": {"path": str(path)}} for name, path in paths.items()}
    spec = parse_spec(
        {
            "kind": "evaluate",
            "experts": [references["expert_0"], references["expert_1"]],
            "fusion": references["fusion"],
            "head": references["head"],
            "dataset": fusion()["dataset"],
            "resources": {"cpus": 1},
        }
    )
    assert isinstance(spec, EvaluateJob)
    return spec


def measure(spec: EvaluateJob, run_dir: Path) -> Result:
    return evaluate_job(spec, run_dir, reporter=NullReporter(), data_roots=[], device="cpu")


def test_an_evaluation_names_the_expert_whose_outputs_are_not_finite(tmp_path: Path) -> None:
    run(fusion(epochs=1), tmp_path / "joint")
    broken = poisoned(component(tmp_path / "joint", "expert_1"), tmp_path / "broken")
    result = measure(evaluate_spec(tmp_path / "joint", expert_1=broken), tmp_path / "evaluate")
    reason = "expert_1 has outputs that are not finite for 360 of 360 images"
    names = ("expert_1", "ensemble", "ensemble_logits", "ensemble_probabilities", "oracle")
    assert {key for key, why in result.absent.items() if why == reason} == {
        *(f"test/accuracy_{name}" for name in names),
        "test/disagreement",
    }
    assert {"test/accuracy_fused", "test/accuracy_expert_0", "test/nll"} <= set(result.metrics)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_has_the_precision_of_the_run_that_it_measures(precision: str, tmp_path: Path) -> None:
    trained = run(fusion(epochs=1, precision=precision), tmp_path / "joint")
    spec = evaluate_spec(tmp_path / "joint")
    measured = measure(spec, tmp_path / "evaluate")
    kept = json.loads((tmp_path / "evaluate" / "spec.json").read_text())
    assert kept["training"]["precision"] == precision
    assert measured.metrics["test/nll"] == pytest.approx(trained.metrics["test/nll"], rel=1e-4)
    complete = load_component(component(tmp_path / "joint", "complete"))
    assert {complete.subcomponent(name).config["precision"] for name in ("expert_1", "fusion", "head")} == {precision}


def test_a_given_precision_of_an_evaluation_is_used(tmp_path: Path) -> None:
    run(fusion(epochs=1, precision="bfloat16"), tmp_path / "joint")
    spec = evaluate_spec(tmp_path / "joint")
    given = spec.model_copy(update={"training": spec.training.model_copy(update={"precision": "float32"})})
    measure(given, tmp_path / "evaluate")
    assert json.loads((tmp_path / "evaluate" / "spec.json").read_text())["training"]["precision"] == "float32"
