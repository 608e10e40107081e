from __future__ import annotations

from typing import Any

import pytest

from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.spec import parse_spec

BASE: dict[str, Any] = {
    "kind": "fusion",
    "experts": [{"arch": "resnet18"}],
    "num_experts": 4,
    "dataset": {"name": "cifar100", "split": {"regime": "iid", "num_shards": 4}},
}


def plan(**fields: Any) -> dict[str, Any]:
    return plan_of(BASE | fields)


def plan_of(data: dict[str, Any], *, activations: bool = False) -> dict[str, Any]:
    """The activations are left out where they do not matter: they cost a forward pass of every expert."""
    spec = parse_spec(data)
    return make_plan(spec, find_data_size(spec, []), {}, activations=activations).to_json()


@pytest.mark.parametrize(
    ("arch", "count", "dim"),
    [
        ("resnet18", 11_220_132, 512),
        ("densenet121", 7_048_676, 1024),
        ("wideresnet28_10", 36_536_884, 640),
        ("resnext29_8x64d", 34_518_948, 1024),
        ("preact_resnext29_8x64d", 34_515_364, 1024),
    ],
)
def test_a_plan_counts_parameters_at_a_hundred_classes(arch: str, count: int, dim: int) -> None:
    planned = plan(experts=[{"arch": arch}])
    parameters = planned["parameters"]
    assert [parameters[f"expert_{k}"] for k in range(4)] == [count] * 4
    assert parameters["fusion"] == 4 * 2 * dim + 2 * (dim * dim + dim)
    assert parameters["head"] == dim * 100 + 100
    assert parameters["total"] == sum(value for key, value in parameters.items() if key != "total")
    assert (planned["feature_dims"], planned["input_dim"]) == ([dim] * 4, dim)


def test_mixed_experts_get_adapters_and_the_dimension_rule() -> None:
    planned = plan(experts=[{"arch": "resnet18"}, {"arch": "densenet121"}], num_experts=2)
    assert (planned["feature_dims"], planned["input_dim"], planned["adapters"]) == ([512, 1024], 1024, ["expert_0"])
    assert planned["learning_rates"] == pytest.approx({"experts": 0.7e-4, "fusion": 4e-4, "head": 4e-4})
    assert "x0.7 since D = 1024 is above 1000" in planned["learning_rates_why"]["experts"]


def test_the_labs_split_gives_its_number_of_steps() -> None:
    """10,000 of 50,000 held out, a tenth of them for validation, batches of 128."""
    planned = plan(training={"epochs": 7})
    assert planned["dataset"]["train"] == 9000
    assert planned["dataset"]["exact"] is False
    assert (planned["steps_per_epoch"], planned["steps"]) == (70, 490)


def test_colour_policies_and_flips_are_left_out_for_digits_with_the_reason() -> None:
    planned = plan(dataset={"name": "digits"}, experts=[{"arch": "convnet_small"}])
    assert (planned["augmentation"]["color"], planned["augmentation"]["flip"]) == ("none", False)
    assert planned["augmentation"]["crop_padding"] == 1
    reasons = " ".join(planned["augmentation_left_out"])
    assert "ColorJitter left out: digits does not contain RGB photographs" in reasons
    assert "crop padding 1 instead of 4" in reasons
    kept = plan()
    assert (kept["augmentation"]["color"], kept["augmentation_left_out"]) == ("ColorJitter", [])


def test_requested_augmentation_is_not_left_out() -> None:
    given = {"augmentation": {"flip": True, "cutmix_alpha": 0.0}}
    planned = plan(dataset={"name": "digits"}, experts=[{"arch": "convnet_small"}], training=given)
    assert (planned["augmentation"]["flip"], planned["augmentation"]["cutmix_alpha"]) == (True, 0.0)
    assert not any("flip" in line for line in planned["augmentation_left_out"])
    nothing = plan(training={"augmentation": "none"})["augmentation"]
    assert not nothing["flip"]
    assert nothing["crop_padding"] == nothing["mixup_alpha"] == 0


def test_a_crop_padding_that_is_not_smaller_than_the_images_is_refused() -> None:
    requested = {"augmentation": {"crop_padding": 8}}
    with pytest.raises(ValueError, match="crop_padding is 8 px, but images of 8 px can be padded by at most 7 px"):
        plan(dataset={"name": "digits"}, experts=[{"arch": "convnet_small"}], training=requested)


def test_expected_accuracies_are_an_expectation_of_the_type() -> None:
    whole = {"dataset": {"name": "cifar100"}}
    assert plan(**whole)["expected_accuracy"] == {"cifar100_baseline": (80, 85), "cifar100_augmented": (82, 87)}
    assert plan(fusion={"type": "TransformerBase"}, **whole)["expected_accuracy"]["cifar100_augmented"] == (88, 93)
    # It says nothing about a part of the images.
    assert plan()["expected_accuracy"] is None


def test_a_checkpoint_is_about_weights_and_two_moments() -> None:
    planned = plan_of(BASE, activations=True)
    assert planned["checkpoint_bytes"] == pytest.approx(3 * 4 * planned["parameters"]["total"], rel=0.01)
    assert planned["activation_bytes"] > 128 * 4 * 32 * 32 * 64 * 4


def test_heads_that_do_not_divide_the_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match=r"D = 30 .* choose fusion.heads from 1, 2, 3, 5, 6, 10, 15, 30"):
        plan(fusion={"type": "TransformerBase"}, input_dim=30)


def test_an_experts_plan_has_its_shards_classes() -> None:
    planned = plan_of(
        {
            "kind": "expert",
            "expert": {"arch": "resnet18", "shard": 1},
            "dataset": {"name": "cifar100", "split": {"regime": "class_shards", "num_shards": 4}},
        }
    )
    assert planned["parameters"] == {"expert_0": 11_220_132 - 75 * 513, "total": 11_220_132 - 75 * 513}
    assert planned["dataset"]["train"] == 9000
    assert planned["learning_rates"] == {"experts": 0.1}


def test_a_degenerate_product_is_warned_about() -> None:
    def warnings(num_experts: int = 4, feature_dim: int = 16, fusion_type: str = "multiplicative") -> list[str]:
        experts = [{"arch": "convnet_small", "feature_dim": feature_dim}]
        planned = plan(experts=experts, num_experts=num_experts, fusion={"type": fusion_type})
        return [warning for warning in planned["warnings"] if "hold-out" not in warning]

    (warning,) = warnings(num_experts=16)
    assert "multiplicative" in warning
    assert "concatenation" in warning
    assert len(warnings(feature_dim=4)) == 1
    assert warnings(num_experts=16, fusion_type="concatenation") == warnings() == []
