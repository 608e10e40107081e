from __future__ import annotations

import pkgutil
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.data import describe_dataset
from core.experts import Expert, build_expert
from core.fusion import Combine, FusionModule
from core.plan.data_size import find_data_size
from core.plan.plan import make_plan
from core.spec import ARCHITECTURES, FUSION_TYPES, DatasetSpec, FusionOptions, fusion_options, parse_spec
from core.spec.catalogue import DATASET_FACTS
from core.spec.dataset import NAMED_DATASETS


class LinearExpert(Expert):
    """A linear layer on the mean colour."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(in_channels, 12)
        self.finish_init(12, num_classes)

    def features(self, images_BCHW: Tensor) -> Tensor:
        features_BD: Tensor = self.project(images_BCHW.mean(dim=(2, 3)))
        return features_BD


class Maximum(Combine):
    """Element-wise maximum over the experts."""

    def forward(self, features_KBD: list[Tensor]) -> Tensor:
        return torch.stack(features_KBD).amax(dim=0)


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file with a new architecture and a new fusion type, and one row for each."""
    module = ModuleType("core.plug_in")
    module.__dict__.update({"LinearExpert": LinearExpert, "Maximum": Maximum})
    monkeypatch.setitem(sys.modules, "core.plug_in", module)
    expert = replace(ARCHITECTURES["resnet18"], implementation="core.plug_in:LinearExpert", feature_dim=12, options=())
    fusion = replace(FUSION_TYPES["multiplicative"], implementation="core.plug_in:Maximum")
    monkeypatch.setitem(ARCHITECTURES, "linear", expert)
    monkeypatch.setitem(FUSION_TYPES, "maximum", fusion)


@pytest.mark.usefixtures("plug_in")
def test_one_row_is_enough_for_a_new_architecture_and_fusion_type() -> None:
    spec: dict[str, Any] = {
        "kind": "fusion",
        "experts": [{"arch": "linear"}],
        "num_experts": 2,
        "fusion": {"type": "maximum"},
    }
    job = parse_spec(spec)
    plan = make_plan(job, find_data_size(job, []), {}, activations=False)
    assert (plan.feature_dims, plan.input_dim) == ((12, 12), 12)
    assert plan.parameters["expert_0"] == (12 + 12) + (12 * 10 + 10)
    assert plan.rates["fusion"].value == 1.2 * 5e-4


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_facts_about_architectures_are_those_of_the_models(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 100)
    facts = ARCHITECTURES[arch]
    assert (expert.feature_dim, sum(p.numel() for p in expert.parameters())) == (facts.feature_dim, facts.parameters)
    assert (facts.recipe.dropout is not None) == ("dropout" in facts.options)


PUBLISHED = {"resnet18": 11_220_132, "densenet121": 7_048_676, "wideresnet28_10": 36_536_884}


@pytest.mark.parametrize("arch", PUBLISHED)
def test_parameter_counts_at_a_hundred_classes_are_the_published_ones(arch: str) -> None:
    assert ARCHITECTURES[arch].parameters == PUBLISHED[arch]


@pytest.mark.parametrize("fusion_type", FUSION_TYPES)
def test_options_of_fusion_types_are_those_that_their_modules_use(fusion_type: str) -> None:
    """Every option that changes a module is listed, and every special option that is listed changes it."""
    changes: dict[str, list[Any]] = {
        "encoder": [{"encoder": True}],
        "encoder_dropout": [{"encoder": True}, {"encoder": True, "encoder_dropout": 0.5}],
        "heads": [{"heads": 1}],
        "weights": [{"weights": "none"}],
    }

    def describe(options: dict[str, Any]) -> list[Any]:
        module = FusionModule(fusion_type, [16, 16], options=FusionOptions(**options))
        layers = [(type(m), getattr(m, "num_heads", None), getattr(m, "p", None)) for m in module.modules()]
        return [*layers, sorted(module.state_dict())]

    for option, (*before, after) in changes.items():
        if option in FUSION_TYPES[fusion_type].options:
            assert describe(before[0] if before else {}) != describe(after), option
        else:
            assert option not in fusion_options(fusion_type)


def test_every_implementation_is_of_the_right_class() -> None:
    assert all(issubclass(pkgutil.resolve_name(info.implementation), Expert) for info in ARCHITECTURES.values())
    assert all(issubclass(pkgutil.resolve_name(info.implementation), Combine) for info in FUSION_TYPES.values())


def test_every_named_dataset_is_in_the_catalogue() -> None:
    assert tuple(DATASET_FACTS) == NAMED_DATASETS


@pytest.mark.parametrize("name", NAMED_DATASETS)
def test_facts_about_datasets_are_those_of_the_loaders(name: str) -> None:
    info, facts = describe_dataset(DatasetSpec(name=name), []), DATASET_FACTS[name]
    assert (len(info.class_names), info.num_train, info.num_test) == (facts.classes, facts.train, facts.test)
