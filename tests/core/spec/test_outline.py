"""An outline says what the plan says, without torch and without the data."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from core.data import DataShape
from core.data.dataset import DatasetInfo
from core.experts import Expert, build_expert
from core.model import assemble
from core.plan.data_size import DataSize, find_data_size
from core.plan.plan import make_plan
from core.spec import ARCHITECTURES, FUSION_TYPES, DatasetSpec, ExpertSpec, FusionOptions, parse_spec
from core.spec.catalogue import DATASET_FACTS
from core.spec.outline import outline
from core.spec.parameters import FUSION_FORMULAS, STEM_CHANNELS, fusion_parameters

SPLIT = {"regime": "iid", "num_shards": 4, "holdout": 0.3, "seed": 1}
SAME = (
    "feature_dims", "input_dim", "adapters", "parameters", "new_expert_heads", "learning_rates", "learning_rates_why",
    "individual_loss", "epochs", "batch_size", "steps_per_epoch", "steps", "warnings",
)  # fmt: skip


@cache
def built(arch: str, dropout: float | None, feature_dim: int | None, shape: DataShape) -> Expert:
    """Building the larger networks again and again would take most of the time, even on the meta device."""
    sizes: dict[str, Any] = {"in_channels": shape.channels, "image_size": shape.image_size}
    with torch.device("meta"):
        return build_expert(arch, shape.num_classes, dropout=dropout, feature_dim=feature_dim, **sizes)


@pytest.fixture(autouse=True)
def _shared_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(expert: ExpertSpec, shape: DataShape) -> Expert:
        assert expert.arch is not None
        return built(expert.arch, expert.dropout, expert.feature_dim, shape)

    monkeypatch.setattr(assemble, "_build_expert", build)


@cache
def info_of(name: str) -> DatasetInfo:
    from core.data import describe_dataset

    return describe_dataset(DatasetSpec(name=name), [])


def check(spec: dict[str, Any], size: DataSize | None = None) -> None:
    parsed = parse_spec(spec)
    outlined = outline(parsed)
    data = outlined.data
    assert data is not None
    if size is None:
        info = info_of(parsed.dataset.name)
        size = DataSize(info, data.train, data.val, len(info.class_names), exact=True)
    planned = make_plan(parsed, size, {}, activations=False).to_json()
    assert {key: getattr(outlined, key) for key in SAME} == {key: planned[key] for key in SAME}
    assert data.model_dump() | {"exact": size.exact} == {key: planned["dataset"][key] for key in data.model_dump()}
    assert outlined.notes == [] or not data.exact


def fusion(arch: str = "convnet_small", dataset: str = "digits", **fields: Any) -> dict[str, Any]:
    base = {"kind": "fusion", "experts": [{"arch": arch}, {"arch": "convnet_small"}], "training": {"epochs": 3}}
    return base | {"dataset": {"name": dataset, "split": SPLIT}} | fields


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_outline_equals_the_plan_for_every_architecture_and_fusion_type(arch: str, fusion_type: str) -> None:
    check(fusion(arch, "cifar100", fusion={"type": fusion_type}))
    check(fusion(arch, "digits", fusion={"type": fusion_type}))


OPTIONS: dict[str, dict[str, Any]] = {
    "no norm": {"fusion": {"norm": False}},
    "no mlp": {"fusion": {"mlp": False}},
    "hidden": {"fusion": {"hidden_dim": 24}},
    "input": {"input_dim": 40},
    "head": {"head": {"type": "mlp"}},
    "head hidden": {"head": {"type": "mlp", "hidden_dim": 5}},
    "as run": {"training": {"preset": "as_run_non_iid", "epochs": 2}},
    "rates": {"training": {"components": {"fusion": {"lr": 0.5}}}},
    "three": {"experts": [{"arch": "convnet_small_gn", "feature_dim": 16}], "num_experts": 3},
    "wide": {"experts": [{"arch": "resnet18", "feature_dim": 64}, {"arch": "wideresnet28_10", "feature_dim": 96}]},
    "many": {"experts": [{"arch": "convnet_small", "feature_dim": 8}], "num_experts": 16},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_an_outline_equals_the_plan_for_every_option(fusion_type: str, name: str) -> None:
    fields = OPTIONS[name]
    check(fusion(**fields | {"fusion": {"type": fusion_type} | fields.get("fusion", {})}))


@pytest.mark.parametrize(
    "options",
    [
        {"type": "TransformerBase", "encoder": True},
        {"type": "TransformerBase", "encoder": True, "mlp": False},
        {"type": "simpleAddition", "weights": "none"},
        {"type": "multiplicativeAddition", "weights": "none", "norm": False},
        {"type": "concatenation", "mlp": False},
    ],
)
def test_an_outline_equals_the_plan_for_the_options_of_one_type(options: dict[str, Any]) -> None:
    check(fusion(fusion=options))


@pytest.mark.parametrize("regime", ["full", "iid", "class_shards", "dirichlet"])
@pytest.mark.parametrize("arch", ["resnet18", "convnet_small"])
@pytest.mark.parametrize("shard", [0, 2])
def test_an_expert_is_outlined_as_it_is_planned(arch: str, regime: str, shard: int) -> None:
    holdout = 0.0 if regime == "full" else 0.3
    split = {"regime": regime, "num_shards": 3, "holdout": holdout}
    spec = {"kind": "expert", "expert": {"arch": arch, "shard": shard}, "dataset": {"name": "digits", "split": split}}
    # Counted from the labels where the outline is exact, else from the same estimate.
    counted = find_data_size(parse_spec(spec), [])
    outlined = outline(parse_spec(spec))
    assert outlined.data is not None
    assert outlined.data.exact == (regime in ("full", "iid"))
    if not outlined.data.exact:
        classes = 10 if regime == "dirichlet" else counted.num_classes
        counted = DataSize(counted.info, outlined.data.train, outlined.data.val, classes, exact=False)
    check(spec, counted)


def test_the_images_of_a_fusion_job_are_counted() -> None:
    for regime in ("iid", "class_shards", "dirichlet"):
        spec = fusion() | {"dataset": {"name": "digits", "split": SPLIT | {"regime": regime}}}
        check(spec, find_data_size(parse_spec(spec), []))


def test_every_architecture_and_fusion_type_has_a_formula() -> None:
    assert (set(STEM_CHANNELS), set(FUSION_FORMULAS)) == (set(ARCHITECTURES), set(FUSION_TYPES))


def test_the_facts_about_images_are_those_of_the_datasets() -> None:
    for name, facts in DATASET_FACTS.items():
        assert (info_of(name).channels, info_of(name).image_size) == (facts.channels, facts.image_size)


def test_a_timm_backbone_is_detected_at_start() -> None:
    outlined = outline(parse_spec(fusion("timm:vit_tiny_patch16_224")))
    assert outlined.feature_dims == [None, 64]
    assert (outlined.input_dim, outlined.adapters, outlined.parameters["total"]) == (None, None, None)
    assert outlined.parameters["expert_1"] is not None
    assert "timm:vit_tiny_patch16_224 are detected at start" in outlined.notes[0]
    assert "Whether timm has a model vit_tiny_patch16_224 is checked at start." in outlined.notes
    assert set(outlined.learning_rates.values()) == {None}
    assert outlined.steps == 3 * outlined.steps_per_epoch  # type: ignore[operator]
    given = outline(parse_spec(fusion("timm:vit_tiny_patch16_224", input_dim=32)))
    assert (given.input_dim, given.parameters["head"]) == (32, 330)
    assert given.learning_rates["experts"] is not None


def test_a_dataset_of_files_is_read_at_start() -> None:
    outlined = outline(parse_spec(fusion(dataset="npz:a.npz")))
    assert (outlined.data, outlined.steps, outlined.parameters["total"]) == (None, None, None)
    assert outlined.parameters["fusion"] is not None
    assert outlined.notes == ["The size of npz:a.npz is read when the job starts."]


def test_heads_that_do_not_divide_the_dimension_are_warned_about() -> None:
    [_, warning] = outline(parse_spec(fusion(fusion={"type": "TransformerBase"}, input_dim=30))).warnings
    assert "30 among its heads, and 8 does not divide it" in warning


REF = {"job": "job_01M85N3F36VFE5DRETSBRX1ADS", "component": "expert_0"}
OTHER = REF | {"component": "expert_1"}


@pytest.mark.parametrize(
    ("experts", "holdout", "warns"),
    [([{"arch": "convnet_small"}], 0.2, True), ([{"arch": "convnet_small"}], 0, False),
     ([{"from": REF}, {"arch": "convnet_small"}], 0.2, True), ([{"from": REF}, {"from": OTHER}], 0.2, False)],
)  # fmt: skip
def test_untrained_experts_that_see_the_hold_out_alone_are_warned_about(
    experts: list[dict[str, Any]], holdout: float, warns: bool
) -> None:
    data = {"name": "digits", "split": {"holdout": holdout}}
    warnings = outline(parse_spec(fusion(dataset="digits") | {"experts": experts, "dataset": data})).warnings
    assert [("20% of the training images" in warning) for warning in warnings] == [True] * warns


SOURCED: dict[str, Any] = {
    "kind": "head",
    "experts": [{"from": REF}, {"from": OTHER}],
    "fusion": {"from": REF | {"component": "fusion"}},
    "dataset": {"name": "digits"},
}


def test_what_components_decide_comes_from_their_configs() -> None:
    expert = {"role": "expert", "arch": "convnet_small", "options_feature_dim": 16, "classes": [0, 1]}
    options = FusionOptions(norm=False, hidden_dim=9)
    combined = {"role": "fusion", "type": "simpleAddition", "input_dim": 16, **options.options()}
    configs = {"experts.0": expert, "experts.1": expert, "fusion": combined}
    outlined = outline(parse_spec(SOURCED), configs)
    assert (outlined.feature_dims, outlined.input_dim, outlined.notes) == ([16, 16], 16, [])
    assert outlined.parameters["fusion"] == fusion_parameters("simpleAddition", [16, 16], 16, options)
    assert "simpleAddition" in outlined.learning_rates_why["head"]
    # A head job freezes its experts, which then keep their heads; a fusion job replaces those of other classes.
    assert outlined.new_expert_heads == []
    joint = outline(parse_spec(SOURCED | {"kind": "fusion"}), configs)
    assert joint.new_expert_heads == ["expert_0", "expert_1"]
    assert joint.learning_rates["expert_heads"] == joint.learning_rates["head"]
    complete = {"role": "complete", "experts": [expert, expert], "fusion": combined}
    assert outline(parse_spec(SOURCED), dict.fromkeys(configs, complete)) == outlined


def test_what_components_will_decide_is_null() -> None:
    outlined = outline(parse_spec(SOURCED))
    assert (outlined.feature_dims, outlined.parameters["fusion"]) == ([None, None], None)
    assert "which is not known yet" in outlined.notes[0]
    alone = outline(parse_spec({"kind": "expert", "expert": {"from": REF}}))
    assert (alone.learning_rates, alone.epochs, alone.steps) == ({"experts": None}, None, None)


def test_an_evaluation_does_no_steps() -> None:
    spec = SOURCED | {"kind": "evaluate", "head": {"from": REF | {"component": "head"}}}
    assert outline(parse_spec(spec)).steps == 0
