"""Component files of every kind of module, and of the version before there were options for head and sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.components import Component
from core.data import DataShape
from core.fusion import FusionModule
from core.model.assemble import ComponentError, build_model, complete_spec, load_weights
from core.model.head import MLPHead
from core.model.model import MultiExpertModel
from core.model.modules import build_module, data_config, expert_config, fusion_config, head_config
from core.plan.plan import make_plan
from core.spec import FusionJob, parse_spec, resolve

SHAPE = DataShape(1, 8, 10)
BASE: dict[str, Any] = {
    "kind": "fusion",
    "experts": [{"arch": "convnet_small", "feature_dim": 16}],
    "num_experts": 2,
    "training": {"preset": "as_run_non_iid"},
    "fusion": {"type": "multiplicativeAddition"},
}


def fusion(**fields: Any) -> FusionJob:
    spec = resolve(parse_spec(BASE | fields))
    assert isinstance(spec, FusionJob)
    return spec


def component(module: nn.Module, config: dict[str, Any], drop: tuple[str, ...] = ()) -> Component:
    kept = {key: value for key, value in config.items() if key not in drop}
    return Component(module.state_dict(), kept, Path("file.pth"))


def components(spec: FusionJob, model: MultiExpertModel) -> dict[str, Component]:
    assert model.fusion is not None
    assert model.head is not None
    names = [str(c) for c in range(10)]
    data = data_config("digits", channels=1, image_size=8, mean=[0.3], std=[0.4])
    experts = [
        expert_config(spec.experts[k], model.expert(k), classes=range(10), class_names=names, data=data) for k in (0, 1)
    ]
    fused = fusion_config(spec, model.fusion, model.feature_dims())
    head = head_config(spec, model.head, names)
    complete = {"role": "complete", "experts": experts, "fusion": fused, "head": head, **data}
    return {
        "expert_0": component(model.expert(0), experts[0]),
        "fusion": component(model.fusion, fused),
        "head": component(model.head, head),
        "complete": component(model, complete),
    }


def test_components_of_the_non_iid_preset_are_built_again_from_their_files() -> None:
    spec = fusion()
    model = build_model(spec, SHAPE).eval()
    saved = components(spec, model)
    images = torch.randn(3, 1, 8, 8)
    expected = model(images)
    complete = build_module(saved["complete"])
    assert torch.equal(complete(images).fused, expected.fused)
    expert, fused, head = (build_module(saved[name]) for name in ("expert_0", "fusion", "head"))
    assert isinstance(head, MLPHead)
    assert "combine.weights" not in fused.state_dict()
    assert torch.equal(expert(images)[1], expected.experts[0])
    features = [model.expert(k)(images)[0] for k in (0, 1)]
    assert torch.equal(head(fused(features)), expected.fused)


def test_files_from_before_the_options_hold_a_linear_head_and_softmax_weights() -> None:
    spec = fusion(training={"preset": "readme"})
    model = build_model(spec, SHAPE)
    saved = components(spec, model)
    old_head = component(model.head, saved["head"].config, ("type", "hidden_dim", "dropout"))  # type: ignore[arg-type]
    old_fusion = component(model.fusion, saved["fusion"].config, ("weights", "encoder_dropout"))  # type: ignore[arg-type]
    assert type(build_module(old_head)) is nn.Linear
    fused = build_module(old_fusion)
    assert isinstance(fused, FusionModule)
    assert "combine.weights" in fused.state_dict()

    # Started from these files, even the preset with other defaults builds what they hold.
    refs = {"fusion": {"from": {"path": "file.pth"}}, "head": {"from": {"path": "file.pth"}}}
    sources = {"fusion": old_fusion, "head": old_head}
    completed = complete_spec(fusion(**refs), sources)
    assert isinstance(completed, FusionJob)
    started = build_model(completed, SHAPE)
    load_weights(started, sources, SHAPE)
    assert torch.equal(started.head.weight, model.head.weight)  # type: ignore[union-attr, arg-type]
    assert complete_spec(completed, sources) == completed


def test_a_plain_sum_and_an_mlp_head_are_taken_from_their_files() -> None:
    spec = fusion()
    model = build_model(spec, SHAPE)
    saved = components(spec, model)
    refs = {"fusion": {"from": {"path": "file.pth"}}, "head": {"from": {"path": "file.pth"}}}
    sources = {name: saved[name] for name in ("fusion", "head")}
    completed = complete_spec(fusion(training={"preset": "readme"}, **refs), sources)
    assert isinstance(completed, FusionJob)
    assert (completed.fusion.weights, completed.head.type, completed.head.dropout) == ("none", "mlp", 0.5)
    load_weights(build_model(completed, SHAPE), sources, SHAPE)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            {"fusion": {"type": "multiplicativeAddition", "weights": "softmax"}},
            "fusion.weights is softmax, but file.pth",
        ),
        ({"head": {"type": "linear"}}, "head.type is linear, but file.pth has mlp"),
        ({"head": {"type": "mlp", "hidden_dim": 8}}, "head.hidden_dim is 8, but file.pth has None"),
    ],
)
def test_an_option_that_contradicts_the_file_is_refused(field: dict[str, Any], message: str) -> None:
    spec = fusion()
    saved = components(spec, build_model(spec, SHAPE))
    (name,) = field
    given = fusion(**{name: {**field[name], "from": {"path": "file.pth"}}})
    with pytest.raises(ComponentError, match=message):
        complete_spec(given, {name: saved[name]})


def test_the_dropout_of_a_densenet_file_is_switched_off_as_run() -> None:
    spec = fusion(experts=[{"from": {"path": "file.pth"}}], num_experts=1)
    config = {"role": "expert", "arch": "densenet121", "dropout": 0.2, "options_feature_dim": None}
    file = Component({}, config, Path("file.pth"))
    completed = complete_spec(spec, {"experts.0": file})
    assert isinstance(completed, FusionJob)
    assert completed.experts[0].dropout == 0.0
    completed = complete_spec(
        fusion(experts=[{"from": {"path": "file.pth"}}], num_experts=1, training={"preset": "readme"}),
        {"experts.0": file},
    )
    assert isinstance(completed, FusionJob)
    assert completed.experts[0].dropout == 0.2


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="role 'router'; this version can build expert, fusion, head, complete"):
        build_module(Component({}, {"role": "router"}, Path("file.pth")))


def test_the_plan_counts_the_parameters_of_plain_sums_and_of_the_two_layer_head() -> None:
    parameters = make_plan(fusion(dataset={"name": "digits"}), [], {}, activations=False).parameters
    layer_norms, mlp = 2 * 2 * 16, 2 * (16 * 16 + 16)
    assert parameters["fusion"] == layer_norms + mlp
    assert parameters["head"] == (16 * 16 + 16) + (16 * 10 + 10)
    linear = make_plan(fusion(head={"type": "linear"}), [], {}, activations=False).parameters
    assert linear["head"] == 16 * 10 + 10
