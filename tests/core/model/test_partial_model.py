"""A complete model with some of its experts only, in memory, in files and in an evaluation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.components import Component, load_component, write_component
from core.model.absent_expert import AbsentExpert
from core.model.model import MultiExpertModel
from core.model.modules import build_module
from core.reporting.protocol import NullReporter
from core.run.partial_model import cut, parse_experts, partial_file_name
from core.spec import FUSION_TYPES, EvaluateJob, parse_spec
from core.train.evaluate_job import evaluate_job
from core.train.result import Result
from tests.core.jobs import TINY, component, fusion, run

pytestmark = pytest.mark.slow

IMAGES = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Trained = tuple[Path, Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three experts, trained with expert dropout."""
    run_dir = tmp_path_factory.mktemp("trained")
    plain: dict[str, Any] = {
        "components": {
            "experts": {"lr": 0.005, "accumulation_steps": 1},
            "fusion": {"lr": 0.005},
            "head": {"lr": 0.005},
        },
        "augmentation": "none",
    }
    return run_dir, run(fusion(count=3, epochs=15, fusion={"expert_dropout": 0.3}, **plain), run_dir)


def fused(module: Any, *arguments: Any) -> Tensor:
    with torch.no_grad():
        logits = module(*arguments).fused
    assert isinstance(logits, Tensor)
    return logits


def test_a_partial_model_is_the_whole_one_without_the_absent_experts(trained: Trained) -> None:
    complete = load_component(component(trained[0], "complete"))
    whole, partial = build_module(complete), build_module(complete, experts=(0, 2))
    assert isinstance(partial, MultiExpertModel)
    present = torch.tensor([True, False, True]).expand(len(IMAGES), -1)
    assert torch.equal(fused(partial, IMAGES), fused(whole, IMAGES, present))
    assert not torch.equal(fused(partial, IMAGES), fused(whole, IMAGES))
    assert isinstance(partial.experts[1], AbsentExpert)
    assert partial.present_experts() == [0, 2]
    outputs, expected = partial(IMAGES).experts, whole(IMAGES).experts
    assert len(outputs) == 2
    assert torch.equal(outputs[1], expected[2])


def test_a_partial_file_has_no_weights_of_the_others_and_says_its_accuracy(trained: Trained, tmp_path: Path) -> None:
    run_dir, result = trained
    complete = load_component(component(run_dir, "complete"))
    partial = complete.with_experts((2, 0))
    for suffix in ("pth", "safetensors"):
        write_component(partial, tmp_path / f"partial.{suffix}")
        loaded = load_component(tmp_path / f"partial.{suffix}")
        assert loaded.config["present_experts"] == [0, 2]
        assert loaded.config["test_accuracy"] == result.subsets["0,2"]
        assert {key.split(".")[1] for key in loaded.state_dict if key.startswith("experts.")} == {"0", "2"}
        assert torch.equal(fused(build_module(loaded), IMAGES), fused(build_module(partial), IMAGES))
    # A part of a part; its accuracy is that of the run only in the folder of the run.
    smaller = load_component(tmp_path / "partial.safetensors").with_experts((2,))
    assert (smaller.config["present_experts"], smaller.config["test_accuracy"]) == ([2], None)
    with pytest.raises(ValueError, match="this model has no expert numbered 1: choose from 0, 2"):
        load_component(tmp_path / "partial.safetensors").with_experts((1, 2))


@pytest.mark.parametrize(
    ("experts", "message"), [((), "no expert was named"), ((0, 3, 7), "no expert numbered 3, 7: choose")]
)
def test_experts_that_a_model_does_not_have_are_refused(
    trained: Trained, experts: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_component(component(trained[0], "complete")).with_experts(experts)
    with pytest.raises(ValueError, match="this component is of role fusion"):
        load_component(component(trained[0], "fusion")).with_experts((0,))


def test_a_file_that_is_cut_without_torch_is_the_same_component(trained: Trained, tmp_path: Path) -> None:
    whole = component(trained[0], "complete").with_suffix(".safetensors")
    expected = load_component(whole).with_experts((0, 2))
    with whole.open("rb") as source:
        plan = cut(source, (0, 2), expected.config["test_accuracy"])
        content = b"".join(plan.blocks(source))
    (tmp_path / "cut.safetensors").write_bytes(content)
    assert len(content) == plan.size_bytes < whole.stat().st_size
    # Loading verifies the SHA-256 of the content.
    loaded = load_component(tmp_path / "cut.safetensors")
    assert loaded.config == expected.config
    assert loaded.state_dict.keys() == expected.state_dict.keys()
    assert all(torch.equal(loaded.state_dict[key], value) for key, value in expected.state_dict.items())
    with pytest.raises(ValueError, match="not a component"):
        cut(io.BytesIO(b"\x05\0\0\0\0\0\0\0hello"), (0,), None)


def evaluation_of(path: Path) -> EvaluateJob:
    ref = {"from": {"path": str(path)}}
    spec = {"kind": "evaluate", "experts": [ref] * 3, "fusion": ref, "head": ref, "dataset": TINY}
    parsed = parse_spec({**spec, "resources": {"cpus": 1}})
    assert isinstance(parsed, EvaluateJob)
    return parsed


def test_an_evaluation_of_a_partial_file_measures_what_its_config_says(trained: Trained, tmp_path: Path) -> None:
    run_dir, result = trained
    assert result.metrics["test/accuracy_fused"] > 0.3
    partial = load_component(component(run_dir, "complete")).with_experts((0, 2))
    write_component(partial, tmp_path / "partial.safetensors")
    spec = evaluation_of(tmp_path / "partial.safetensors")
    measured = evaluate_job(spec, tmp_path / "evaluation", reporter=NullReporter(), data_roots=[])
    assert measured.metrics["test/accuracy_fused"] == pytest.approx(partial.config["test_accuracy"], abs=1.5 / 360)
    assert "test/accuracy_expert_1" not in measured.metrics
    assert set(measured.per_class) >= {"fused", "expert_0", "expert_2"}
    assert "only 2 of its 3 experts" in measured.absent["test/shapley_expert_0"]
    assert measured.subsets == {}


def test_training_on_an_expert_that_a_partial_file_lacks_is_refused(trained: Trained, tmp_path: Path) -> None:
    partial: Component = load_component(component(trained[0], "complete")).with_experts((0, 2))
    write_component(partial, tmp_path / "partial.pth")
    spec = fusion(count=3) | {"experts": [{"from": {"path": str(tmp_path / "partial.pth")}}] * 3}
    with pytest.raises(ValueError, match=r"experts\.1: .* is a partial model without this expert"):
        run(spec, tmp_path / "training")


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_every_type_has_partial_models(fusion_type: str, tmp_path: Path) -> None:
    run(fusion(count=2, epochs=1, fusion={"type": fusion_type}), tmp_path)
    complete = load_component(component(tmp_path, "complete"))
    logits = fused(build_module(complete, experts=[1]), IMAGES)
    assert torch.isfinite(logits).all()
    present = torch.tensor([False, True]).expand(len(IMAGES), -1)
    assert torch.equal(logits, fused(build_module(complete), IMAGES, present))


def test_lists_of_experts_and_names_of_files() -> None:
    assert parse_experts("2,0") == [0, 2]
    with pytest.raises(ValueError, match="expert 2 is named twice"):
        parse_experts("2,0,2")
    assert (
        partial_file_name("complete_fusion_best.safetensors", [2, 0]) == "complete_fusion_best-experts-0-2.safetensors"
    )
    for text in ("", "a", "0,", "-1", "0;2", "²", "99999"):
        with pytest.raises(ValueError, match="numbers from 0"):
            parse_experts(text)


def test_a_result_of_another_model_says_nothing_about_this_one(trained: Trained, tmp_path: Path) -> None:
    complete = load_component(component(trained[0], "complete"))
    folder = tmp_path / "components"
    folder.mkdir()
    write_component(complete, folder / "complete.pth")
    result = json.loads((trained[0] / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert load_component(folder / "complete.pth").with_experts([0]).config["test_accuracy"] == result["subsets"]["0"]
    result["components"]["complete"]["content_sha256"] = "other"
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert load_component(folder / "complete.pth").with_experts([0]).config["test_accuracy"] is None


def test_of_more_than_ten_experts_all_and_all_but_one_were_measured(tmp_path: Path) -> None:
    result = run(fusion(count=11, epochs=1, fusion={"type": "simpleAddition"}), tmp_path)
    assert result.subsets == {}
    complete = load_component(component(tmp_path, "complete"))
    accuracies = {
        "without 4": complete.with_experts([k for k in range(11) if k != 4]).config["test_accuracy"],
        "all": complete.with_experts(range(11)).config["test_accuracy"],
        "nine": complete.with_experts(range(9)).config["test_accuracy"],
    }
    assert accuracies == {
        "without 4": result.metrics["test/accuracy_without_expert_4"],
        "all": result.metrics["test/accuracy_fused"],
        "nine": None,
    }
    assert result.leave_one_out[4] == accuracies["all"] - accuracies["without 4"]
