"""Whether two jobs were measured on the same images."""

from __future__ import annotations

import numpy as np

from app.http.errors import Invalid
from app.models import Job
from app.results.predictions.stored import SPLIT_NAMES, Split, StoredSplit
from app.settings import Settings
from core.run.content import ContentCache, describe_difference, have_same_test_data


class OtherImages(Invalid):
    """Two jobs were not measured on the same images; `reason` says how these differ, as a clause."""

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(f"{detail}: {reason}")
        self.reason = reason


def check_same_data(settings: Settings, a: Job, b: Job, split: Split) -> bool:
    """Whether the images of a split are known to be the same for two jobs, whatever their data sets are called.

    Raises OtherImages if they have changed between the two, as far as their content was recorded.
    """
    if a.data_sha256 is None or b.data_sha256 is None:
        return False
    cache = ContentCache(settings.content_cache)
    if a.data_sha256 == b.data_sha256:
        return True
    if split == "test" and have_same_test_data(a.data_sha256, b.data_sha256, cache):
        return True
    if a.spec["dataset"]["name"] != b.spec["dataset"]["name"]:
        # The stored predictions tell.
        return False
    older, newer = sorted((a, b), key=lambda job: job.id)
    difference = describe_difference(older.data_sha256 or "", newer.data_sha256 or "", cache)
    name = newer.spec["dataset"]["name"]
    raise OtherImages(
        f"{a.id} and {b.id} were not measured on the same {SPLIT_NAMES[split]} images",
        f"{name} has changed between them" + (f" ({difference})" if difference else ""),
    )


def common_labels(a: StoredSplit, b: StoredSplit, *, same_data: bool = False) -> np.ndarray:
    """The labels (N,) of two splits of the same images; raises OtherImages that says where they differ.

    With `same_data`, what `check_same_data` knows, the data sets may have other names.
    """
    what = SPLIT_NAMES[a.split]
    if not same_data and a.entry["dataset"] != b.entry["dataset"]:
        raise OtherImages(
            f"{a.job_id} and {b.job_id} were not measured on the same images",
            f"one on {a.entry['dataset']}, the other on {b.entry['dataset']}",
        )
    ids_a, labels_a = a.ids_and_labels()
    if a.file == b.file:
        return labels_a
    ids_b, labels_b = b.ids_and_labels()
    if not np.array_equal(ids_a, ids_b):
        shared = len(np.intersect1d(ids_a, ids_b))
        raise OtherImages(
            f"{a.job_id} and {b.job_id} were not measured on the same {what} images",
            f"{len(ids_a):,} and {len(ids_b):,}, of which {shared:,} are in both",
        )
    if not np.array_equal(labels_a, labels_b):
        count = int((labels_a != labels_b).sum())
        raise OtherImages(
            f"the data set has changed between {a.job_id} and {b.job_id}",
            f"{count:,} of {len(labels_a):,} {what} images have another label",
        )
    return labels_a
