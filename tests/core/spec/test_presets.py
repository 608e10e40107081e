"""What the presets prescribe, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from core.data import describe_dataset
from core.plan.augmentation import resolve_augmentation
from core.spec import (
    COMPONENT_NAMES,
    FUSION_TYPES,
    Augmentation,
    DatasetSpec,
    ExpertJob,
    FusionJob,
    Schedule,
    SpecError,
    parse_spec,
    resolve,
)


def fusion(preset: str, arch: str = "resnet18", **fields: Any) -> FusionJob:
    spec = {"kind": "fusion", "experts": [{"arch": arch}], "num_experts": 2, "training": {"preset": preset}}
    resolved = resolve(parse_spec(spec | fields))
    assert isinstance(resolved, FusionJob)
    return resolved


def augmentation(preset: str) -> Augmentation:
    return resolve_augmentation(fusion(preset), describe_dataset(DatasetSpec(name="cifar100"), [])).recipe


def rates(spec: FusionJob) -> list[float | None]:
    return [getattr(spec.training.components, name).lr for name in COMPONENT_NAMES]


def test_as_run_augments_as_the_lab_did() -> None:
    recipe = Augmentation(crop_padding=4, flip=True, color="RandAugment", randaugment=(2, 9), erasing=0.1)
    assert augmentation("as_run") == recipe.model_copy(update={"cutmix_alpha": 1.0})
    assert augmentation("as_run_non_iid") == recipe


@pytest.mark.parametrize("preset", ["as_run", "as_run_non_iid"])
def test_densenet_has_no_dropout_as_run(preset: str) -> None:
    assert fusion(preset, "densenet121").experts[0].dropout == 0.0
    assert fusion(preset, "wideresnet28_10").experts[0].dropout is None
    given = fusion(preset, experts=[{"arch": "densenet121", "dropout": 0.3}])
    assert given.experts[0].dropout == 0.3
    alone = resolve(parse_spec({"kind": "expert", "expert": {"arch": "densenet121"}, "training": {"preset": preset}}))
    assert isinstance(alone, ExpertJob)
    assert alone.expert.dropout == 0.0


def test_the_readme_preset_keeps_the_dropout_of_densenet() -> None:
    alone = resolve(parse_spec({"kind": "expert", "expert": {"arch": "densenet121"}}))
    assert isinstance(alone, ExpertJob)
    assert alone.expert.dropout == 0.2


def test_as_run_non_iid_has_its_own_rates_and_neither_clip_nor_smoothing() -> None:
    spec = fusion("as_run_non_iid")
    assert rates(spec) == [1e-5, 1e-4, 1e-4]
    assert rates(fusion("as_run")) == [1e-5, 1e-3, 1e-3]
    training = spec.training
    assert (training.clip_norm, training.loss.label_smoothing, training.loss.distillation_weight) == (0.0, 0.0, 0.0)
    for name in COMPONENT_NAMES:
        policy = getattr(training.components, name)
        assert (policy.clip_norm, policy.accumulation_steps, policy.schedule) == (0.0, 1, Schedule(type="constant"))


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_sums_are_weighted_except_as_run_non_iid(fusion_type: str) -> None:
    is_sum = "weights" in FUSION_TYPES[fusion_type].options
    for preset, expected in (("readme", "softmax"), ("as_run", "softmax"), ("as_run_non_iid", "none")):
        weights = fusion(preset, fusion={"type": fusion_type}).fusion.weights
        assert weights == (expected if is_sum else None)
    if is_sum:
        assert fusion("as_run_non_iid", fusion={"type": fusion_type, "weights": "softmax"}).fusion.weights == "softmax"


def test_the_encoder_has_its_own_dropout_as_run_non_iid() -> None:
    encoder = {"type": "TransformerBase", "encoder": True}
    assert fusion("as_run_non_iid", fusion=encoder).fusion.encoder_dropout == 0.1
    assert fusion("readme", fusion=encoder).fusion.encoder_dropout is None
    assert fusion("as_run_non_iid", fusion={"type": "TransformerBase"}).fusion.encoder_dropout is None


def test_the_head_is_linear_except_as_run_non_iid() -> None:
    for preset, expected in (
        ("readme", ("linear", None)),
        ("as_run", ("linear", None)),
        ("as_run_non_iid", ("mlp", 0.5)),
    ):
        head = fusion(preset).head
        assert (head.type, head.dropout) == expected
    head = fusion("readme", head={"type": "mlp", "hidden_dim": 24, "dropout": 0.2}).head
    assert (head.type, head.hidden_dim, head.dropout) == ("mlp", 24, 0.2)
    assert fusion("as_run_non_iid", head={"type": "linear"}).head.dropout is None


@pytest.mark.parametrize("preset", ["readme", "as_run", "as_run_non_iid"])
@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_resolving_twice_changes_nothing(preset: str, fusion_type: str) -> None:
    spec = fusion(preset, fusion={"type": fusion_type})
    assert resolve(spec) == spec
    assert parse_spec(spec.model_dump(mode="json", by_alias=True)) == spec


@pytest.mark.parametrize(
    ("change", "loc", "message"),
    [
        ({"fusion": {"type": "concatenation", "weights": "none"}}, ("fusion",), "not of concatenation: remove it"),
        ({"fusion": {"type": "additive", "weights": "mean"}}, ("fusion", "weights"), "'softmax' or 'none'"),
        ({"fusion": {"type": "TransformerBase", "encoder_dropout": 0.1}}, ("fusion",), "give encoder: true as well"),
        ({"head": {"dropout": 0.5}}, ("head",), "give type: mlp, or remove them"),
        ({"head": {"type": "linear", "hidden_dim": 8}}, ("head",), "give type: mlp, or remove them"),
        ({"head": {"type": "cosine"}}, ("head", "type"), "'linear' or 'mlp'"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(change: dict[str, Any], loc: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec({"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 2} | change)
    assert [error.loc for error in caught.value.errors] == [loc]
    assert message in caught.value.errors[0].msg
