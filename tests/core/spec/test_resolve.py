from __future__ import annotations

import pytest

from core.spec import (
    ARCHITECTURES,
    COMPONENT_NAMES,
    FUSION_TYPES,
    ExpertJob,
    FusionJob,
    HeadJob,
    JobSpec,
    Schedule,
    defaulted,
    parse_spec,
    resolve,
)

FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 4}
REF = {"job": "job_01J00000000000000000000000", "component": "expert_0"}
SPECS = [
    FUSION,
    FUSION | {"training": {"preset": "as_run"}, "fusion": {"type": "additive"}},
    {"kind": "expert", "expert": {"arch": "densenet121"}},
    {"kind": "head", "experts": [{"from": REF}], "fusion": {"from": {**REF, "component": "fusion"}}},
]


def fusion(**fields: object) -> FusionJob:
    spec = resolve(parse_spec(FUSION | fields))
    assert isinstance(spec, FusionJob)
    return spec


@pytest.mark.parametrize("data", SPECS)
def test_resolving_twice_changes_nothing_and_survives_json(data: dict[str, object]) -> None:
    spec: JobSpec = resolve(parse_spec(data))
    assert resolve(spec) == spec
    assert parse_spec(spec.model_dump(mode="json", by_alias=True)) == spec


def test_one_expert_entry_stands_for_as_many_as_num_experts() -> None:
    spec = fusion()
    assert (len(spec.experts), spec.num_experts) == (4, 4)


def test_the_readme_preset_fills_every_component() -> None:
    components = fusion().training.components
    assert (components.experts.clip_norm, components.experts.accumulation_steps) == (5.0, 2)
    assert components.experts.schedule == Schedule(type="CosineAnnealingWarmRestarts", t_mult=2, min_lr_factor=0.1)
    for policy in (components.fusion, components.head):
        assert (policy.clip_norm, policy.accumulation_steps) == (1.0, 1)
        assert policy.schedule == Schedule(type="CosineAnnealingLR", min_lr_factor=0.1)
    assert {getattr(components, name).weight_decay for name in COMPONENT_NAMES} == {1e-4}
    assert fusion(fusion={"type": "TransformerBase"}).training.components.head.weight_decay == 5e-4


def test_the_as_run_preset_is_what_was_really_run() -> None:
    training = fusion(training={"preset": "as_run"}).training
    assert [getattr(training.components, name).lr for name in COMPONENT_NAMES] == [1e-5, 1e-3, 1e-3]
    assert {getattr(training.components, name).clip_norm for name in COMPONENT_NAMES} == {0.0}
    assert {getattr(training.components, name).schedule for name in COMPONENT_NAMES} == {Schedule(type="constant")}
    assert (training.clip_norm, training.loss.distillation_weight, training.loss.label_smoothing) == (1.0, 0.0, 0.1)


def test_simple_addition_has_layer_norms_unless_as_run() -> None:
    assert fusion(fusion={"type": "additive"}).fusion.norm is True
    assert fusion(fusion={"type": "additive"}, training={"preset": "as_run"}).fusion.norm is False
    assert fusion(fusion={"type": "additive", "norm": True}, training={"preset": "as_run"}).fusion.norm is True


@pytest.mark.parametrize("name", FUSION_TYPES)
def test_label_smoothing_is_the_fusion_types(name: str) -> None:
    expected = {"TransformerBase": 0.05, "multiplicativeAddition": 0.08, "concatenation": 0.08}.get(name, 0.1)
    assert fusion(fusion={"type": name}).training.loss.label_smoothing == expected


def test_given_values_are_kept() -> None:
    given = {
        "epochs": 7,
        "loss": {"alpha": 5, "distillation_weight": 0},
        "components": {"experts": {"schedule": "constant"}},
    }
    training = fusion(training=given).training
    assert (training.epochs, training.loss.lambda_individual, training.loss.distillation_weight) == (7, 5.0, 0.0)
    assert training.components.experts.schedule == Schedule(type="constant")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_expert_alone_trains_by_its_architectures_recipe(arch: str) -> None:
    spec = resolve(parse_spec({"kind": "expert", "expert": {"arch": arch}}))
    assert isinstance(spec, ExpertJob)
    recipe, policy = ARCHITECTURES[arch].recipe, spec.training.components.experts
    assert (policy.optimizer, policy.lr, policy.weight_decay) == (recipe.optimizer, recipe.lr, recipe.weight_decay)
    assert (spec.training.epochs, spec.training.batch_size) == (recipe.epochs, recipe.batch_size)
    assert spec.expert.dropout == recipe.dropout


def test_a_head_job_freezes_experts_and_fusion() -> None:
    spec = resolve(parse_spec(SPECS[3]))
    assert isinstance(spec, HeadJob)
    components = spec.training.components
    assert (components.experts.frozen, components.fusion.frozen, components.head.frozen) == (True, True, False)


def test_holdout_is_a_fifth_unless_both_phases_see_everything() -> None:
    assert fusion().dataset.split.holdout == 0.0
    assert fusion(dataset={"split": {"regime": "iid", "num_shards": 4}}).dataset.split.holdout == 0.2


def test_a_shard_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expert.shard: is 4, but the split has 4 shards, numbered from 0"):
        parse_spec(
            {"kind": "expert", "expert": {"arch": "resnet18", "shard": 4}, "dataset": {"split": {"num_shards": 4}}}
        )


def test_defaulted_lists_exactly_the_fields_that_were_not_given() -> None:
    spec = parse_spec(FUSION | {"training": {"epochs": 3, "loss": {"alpha": 1.0}}})
    paths = defaulted(spec)
    assert "training.epochs" not in paths
    assert "training.loss.lambda_individual" not in paths
    assert {"training.batch_size", "training.loss.label_smoothing", "fusion", "experts.0.from"} <= set(paths)
