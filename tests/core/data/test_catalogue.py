from __future__ import annotations

import pytest

from core.data import load_dataset
from core.data.catalogue import dataset_module
from core.spec import DatasetSpec
from core.spec.dataset import DATASET_KINDS


@pytest.mark.parametrize("kind", DATASET_KINDS)
def test_every_row_of_the_table_names_a_module_that_loads_and_describes(kind: str) -> None:
    module = dataset_module(f"{kind}:data" if DATASET_KINDS[kind].takes_path else kind)
    assert callable(module.load)
    assert callable(module.describe)


def test_an_image_size_is_refused_where_images_have_a_fixed_size() -> None:
    with pytest.raises(ValueError, match="image_size applies to image folders only"):
        load_dataset(DatasetSpec(name="digits", image_size=16), [])
