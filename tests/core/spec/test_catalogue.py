from __future__ import annotations

import pytest
import torch

from core.data import describe_dataset
from core.experts import build_expert
from core.spec import ARCHITECTURES, DatasetSpec
from core.spec.catalogue import ARCHITECTURE_FACTS, DATASET_FACTS
from core.spec.dataset import NAMED_DATASETS


def test_every_choice_is_in_the_catalogue() -> None:
    assert tuple(ARCHITECTURE_FACTS) == ARCHITECTURES
    assert tuple(DATASET_FACTS) == NAMED_DATASETS


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_facts_about_architectures_are_those_of_the_models(arch: str) -> None:
    with torch.device("meta"):
        expert = build_expert(arch, 100)
    facts = ARCHITECTURE_FACTS[arch]
    assert (expert.feature_dim, sum(p.numel() for p in expert.parameters())) == (facts.feature_dim, facts.parameters)


@pytest.mark.parametrize("name", NAMED_DATASETS)
def test_facts_about_data_sets_are_those_of_the_loaders(name: str) -> None:
    info, facts = describe_dataset(DatasetSpec(name=name), []), DATASET_FACTS[name]
    assert (len(info.class_names), info.num_train, info.num_test) == (facts.classes, facts.train, facts.test)
