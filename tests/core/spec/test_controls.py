"""The controls of a fusion job: which jobs they are, and why one is absent."""

from __future__ import annotations

from typing import Any

import pytest

from core.spec import ExpertJob, FusionJob, parse_spec, resolve
from core.spec.catalogue import ARCHITECTURES
from core.spec.controls import FROZEN, MATCHED, Control, ExpertRecipe, controls, recipe_of, untrained_recipe
from core.spec.outline import outline
from core.spec.parameters import expert_parameters
from core.spec.seen_images import SeenImages

JOB = "job_01JQ3YD5W4N7T8X2M6R9B0C1VA"
SHARDS = {"name": "digits", "split": {"regime": "class_shards", "num_shards": 4, "holdout": 0.4, "seed": 7}}
FROM_EXPERTS = {
    "kind": "fusion",
    "name": "digits",
    "tags": ["paper"],
    "experts": [{"from": {"job": JOB, "component": "expert_0"}}] * 4,
    "dataset": SHARDS,
    "training": {"epochs": 20, "seed": 3},
    "resources": {"cpus": 1},
    "controls": True,
}
TRAINED = ExpertRecipe(
    {"arch": "convnet_small"},
    {"epochs": 12, "batch_size": 32},
    SeenImages(resolve(parse_spec({**FROM_EXPERTS, "training": {}})).dataset, frozenset(range(4))),
)


def by_role(
    spec: dict[str, Any], recipe: ExpertRecipe = TRAINED, parameters: int | None = 120_000
) -> dict[str, Control]:
    job = parse_spec(spec)
    assert isinstance(job, FusionJob)
    count = len(resolve(job).model_dump()["experts"])
    return {control.role: control for control in controls(job, [recipe] * count, parameters)}


def test_there_is_a_single_network_for_each_expert_the_frozen_fusion_and_one_matched_in_parameters() -> None:
    assert list(by_role(FROM_EXPERTS)) == ["single_0", "single_1", "single_2", "single_3", MATCHED, FROZEN]


def test_single_networks_see_all_images_with_the_recipe_of_the_experts_and_seeds_of_their_own() -> None:
    result = by_role(FROM_EXPERTS)
    for k in range(4):
        job = result[f"single_{k}"].spec
        assert isinstance(job, ExpertJob)
        split = resolve(job).dataset.split
        assert (split.regime, split.num_shards, split.holdout, split.seed) == ("full", 1, 0.0, 7)
        assert (job.training.epochs, job.training.batch_size, job.training.seed) == (12, 32, 3 + k)
        assert (job.expert.arch, job.resources.cpus, job.tags) == ("convnet_small", 1, ("paper",))


def test_a_control_that_other_jobs_share_is_not_named_after_one_of_them() -> None:
    result = by_role(FROM_EXPERTS | {"name": "type=multiplicative"})
    names = {role: control.spec.name for role, control in result.items() if control.spec is not None}
    assert names["single_1"] == "control: one convnet_small on all of digits, seed 4"
    assert [role for role, name in names.items() if "multiplicative" in name] == [FROZEN]


def test_the_frozen_control_differs_in_that_alone() -> None:
    job = by_role(FROM_EXPERTS)[FROZEN].spec
    assert isinstance(job, FusionJob)
    assert job.training.components.experts.frozen
    assert not job.controls
    assert job.sources() == parse_spec({**FROM_EXPERTS, "training": {}}).sources()
    assert (job.training.epochs, job.dataset.split.holdout, job.priority) == (20, 0.4, -1)


def test_the_matched_network_has_as_many_parameters_as_the_fused_model() -> None:
    job = by_role(FROM_EXPERTS)[MATCHED].spec
    assert isinstance(job, ExpertJob)
    assert job.expert.feature_dim is not None
    count = expert_parameters("convnet_small", 1, 10, job.expert.feature_dim)
    assert count is not None
    assert abs(count - 120_000) / 120_000 < 0.01


def test_a_family_of_one_width_has_no_matched_network() -> None:
    assert "feature_dim" not in ARCHITECTURES["densenet121"].options
    result = by_role(FROM_EXPERTS, ExpertRecipe({"arch": "densenet121"}, {}, TRAINED.seen))[MATCHED]
    assert result.spec is None
    assert result.absent == "densenet121 cannot be made wider: no such network has a width to choose"


@pytest.mark.parametrize(("arch", "width"), [("resnet18", 1_048), ("wideresnet28_10", 1_316)])
def test_four_networks_on_cifar_have_a_wider_one_of_as_many_parameters(arch: str, width: int) -> None:
    spec = {"kind": "fusion", "experts": [{"arch": arch}], "num_experts": 4, "dataset": {"name": "cifar100"}}
    total = outline(parse_spec(spec)).parameters["total"]
    assert total is not None
    job = by_role(spec, untrained_recipe({"arch": arch}), total)[MATCHED].spec
    assert isinstance(job, ExpertJob)
    assert job.expert.feature_dim is not None
    assert abs(job.expert.feature_dim - width) < 40
    count = expert_parameters(arch, 3, 100, job.expert.feature_dim)
    assert count is not None
    assert abs(count - total) / total < 0.01


def test_the_matched_network_of_mixed_experts_is_of_the_first_family_that_has_a_width() -> None:
    recipes = [untrained_recipe({"arch": arch}) for arch in ("densenet121", "resnet18")]
    experts = [recipe.expert for recipe in recipes]
    spec = parse_spec({"kind": "fusion", "experts": experts, "dataset": {"name": "cifar10"}})
    assert isinstance(spec, FusionJob)
    result = {control.role: control.spec for control in controls(spec, recipes, 30_000_000)}[MATCHED]
    assert isinstance(result, ExpertJob)
    width = result.expert.feature_dim
    assert (result.expert.arch, result.name) == (
        "resnet18",
        f"control: one resnet18 of width {width} on all of cifar10, seed 42",
    )


def test_data_that_are_not_read_at_submission_have_no_matched_network() -> None:
    spec = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "dataset": {"name": "npz:cells.npz"}}
    result = by_role(spec, untrained_recipe({"arch": "convnet_small"}), None)[MATCHED]
    assert result.absent == (
        "how many parameters the fused model has depends on npz:cells.npz, which is not read at submission"
    )


def test_untrained_experts_on_a_hold_out_have_no_single_network_and_say_why() -> None:
    spec = {**FROM_EXPERTS, "experts": [{"arch": "convnet_small"}], "num_experts": 2}
    untrained = untrained_recipe({"arch": "convnet_small"})
    result = by_role(spec, untrained)
    assert "on the hold-out alone (40% of the training images)" in str(result["single_0"].absent)
    assert "would stay so if they were frozen" in str(result[FROZEN].absent)
    whole = by_role({**spec, "dataset": {"name": "digits"}}, untrained)
    assert isinstance(whole["single_0"].spec, ExpertJob)


def test_frozen_experts_need_no_frozen_control() -> None:
    spec = {**FROM_EXPERTS, "training": {"components": {"experts": {"frozen": True}}}}
    assert by_role(spec)[FROZEN].absent == "the experts of this job are frozen themselves"


def test_the_experts_stay_frozen_in_every_stage() -> None:
    stages = [{"epochs": 5, "components": {"experts": {"frozen": True}}}, {"epochs": 15, "lambda_individual": 0.5}]
    spec = {**FROM_EXPERTS, "training": {"stages": stages, "gradients": "pcgrad"}}
    job = by_role(spec)[FROZEN].spec
    assert isinstance(job, FusionJob)
    assert job.training.stages is not None
    assert [stage.components.experts.frozen for stage in job.training.stages] == [True, True]
    assert (job.training.stages[1].lambda_individual, job.training.gradients) == (0.5, "sum")


def test_a_stage_that_trains_the_experts_alone_has_no_frozen_control() -> None:
    frozen = {"fusion": {"frozen": True}, "head": {"frozen": True}}
    spec = {**FROM_EXPERTS, "training": {"stages": [{"epochs": 2, "components": frozen}, {"epochs": 2}]}}
    result = by_role(spec)[FROZEN]
    assert result.spec is None
    assert "it would not be a valid job" in str(result.absent)


def test_experts_of_other_data_or_of_some_shards_have_no_single_network() -> None:
    dataset = resolve(parse_spec({**FROM_EXPERTS, "training": {}})).dataset
    some = ExpertRecipe(TRAINED.expert, {}, SeenImages(dataset, frozenset({1})))
    assert "the experts saw shard 1 of 4, and no job" in str(by_role(FROM_EXPERTS, some)["single_0"].absent)
    other = ExpertRecipe(TRAINED.expert, {}, SeenImages(dataset.model_copy(update={"name": "cifar10"}), frozenset({1})))
    absent = by_role(FROM_EXPERTS, other)["single_0"].absent
    assert "expert 0 was trained on another dataset (cifar10)" in str(absent)
    assert by_role(FROM_EXPERTS, some)[FROZEN].spec is not None


def test_the_recipe_is_that_of_the_job_that_trained_the_expert() -> None:
    source = parse_spec({"kind": "expert", "expert": {"arch": "resnet18"}, "training": {"epochs": 5, "seed": 9}})
    recipe = recipe_of({"arch": "resnet18", "dropout": None, "pretrained": False}, source)
    assert (recipe.expert, recipe.training) == ({"arch": "resnet18"}, {"epochs": 5})
    assert isinstance(recipe.seen, SeenImages)
    assert recipe.seen.is_everything
    unknown = recipe_of({"arch": "resnet18"}, None)
    assert (unknown.training, isinstance(unknown.seen, str)) == (None, True)


def test_an_expert_without_a_recipe_of_its_own_is_trained_with_the_settings_of_the_job() -> None:
    training = {"epochs": 3, "seed": 5, "batch_size": 48, "precision": "float32", "augmentation": "none"}
    spec = {**FROM_EXPERTS, "experts": [{"arch": "convnet_small"}], "num_experts": 2, "dataset": {"name": "digits"}}
    job = by_role({**spec, "training": training}, untrained_recipe({"arch": "convnet_small"}))["single_1"].spec
    assert isinstance(job, ExpertJob)
    own = job.training
    assert (own.batch_size, own.precision, own.augmentation, own.seed) == (48, "float32", "none", 6)
    # The length and the rates are those of the recipe of the architecture.
    assert own.epochs is None
