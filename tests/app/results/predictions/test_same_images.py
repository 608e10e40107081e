"""Which jobs were measured on the same images, by what was recorded of their data and by ids and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.run.content import ContentCache, find_content
from tests.app.api import Service
from tests.app.results.predictions.test_comparison import LABELS, N, compare, refusal, wrong_on
from tests.app.results.predictions.trained import set_data, with_predictions


def recorded(service: Service, name: str, **changed: np.ndarray) -> str:
    """The digest of an .npz file with test images of its own, some arrays of which were changed."""
    root = service.settings.roots[0]
    root.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "images": np.zeros((5, 8, 8), np.uint8),
        "labels": np.arange(5),
        "test_images": np.zeros((2, 8, 8), np.uint8),
        "test_labels": np.arange(2),
    }
    np.savez(Path(root) / name, **arrays | changed)
    content = find_content(f"npz:{name}", service.settings.roots, ContentCache(service.settings.content_cache))
    assert content is not None
    return content.sha256


def job_on(service: Service, data_sha256: str | None, dataset: str = "digits", **arrays: np.ndarray) -> str:
    split = {**wrong_on(0), **arrays}
    job_id = with_predictions(service, "one", {"test": split, "val": split}, dataset=dataset)
    set_data(service, job_id, data_sha256, dataset)
    return job_id


def test_validation_images_are_others_once_the_training_images_have_changed(service: Service) -> None:
    before = recorded(service, "a.npz")
    now = recorded(service, "a.npz", images=np.ones((5, 8, 8), np.uint8))
    a, b = job_on(service, before), job_on(service, now)
    assert compare(service, a, b)["num_images"] == N
    assert "were not measured on the same validation images" in refusal(service, a, b, split="val")


def test_equal_content_under_another_path_is_the_same_data(service: Service) -> None:
    digest = recorded(service, "a.npz")
    assert recorded(service, "b.npz") == digest
    a, b = job_on(service, digest, "npz:a.npz"), job_on(service, digest, "npz:b.npz")
    for split in ("test", "val"):
        assert compare(service, a, b, split=split)["num_images"] == N
    other = recorded(service, "c.npz", test_images=np.ones((2, 8, 8), np.uint8))
    for unlike in (job_on(service, other, "npz:c.npz"), job_on(service, None, "npz:c.npz")):
        assert "one on npz:a.npz, the other on npz:c.npz" in refusal(service, a, unlike)


def test_as_many_other_images_are_refused(service: Service) -> None:
    a, b = job_on(service, None), job_on(service, None, ids=np.arange(N) + 1, labels=LABELS)
    assert f"{N} and {N}, of which {N - 1} are in both" in refusal(service, a, b)
