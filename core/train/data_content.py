"""Loads the data of a run together with a digest of their content, and tells whether they stay as they were."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core.data.job_data import JobData, load_job_data
from core.data.overlap import num_test_images_in_training
from core.reporting.activity import Activity
from core.reporting.alerts import Alert
from core.reporting.protocol import Reporter
from core.run.content import Content, ContentCache, content_of, count_test_files_in_training
from core.run.data_files import Listing, list_data_files
from core.runtime import Runtime
from core.spec import JobSpec

HASHING = "hashing the data"


class LoadedData(NamedTuple):
    """The data of a job and their content.

    `has_changed` says whether the data have become others since, as far as this process sees; of images in memory they
    cannot. `warnings` are sentences about what a test on these data cannot show.
    """

    data: JobData
    content: Content | None
    has_changed: Callable[[], bool]
    warnings: list[str]


def load_with_content(
    spec: JobSpec, data_roots: Sequence[Path], cache: ContentCache, reporter: Reporter, runtime: Runtime
) -> LoadedData:
    """Loads the data of a job, and raises an alert if test images are training images too; every process calls this.

    Raises ValueError if they change while being read, and if they are not the same for all processes.
    """
    name = spec.dataset.name
    hashing = partial(Activity(reporter).note, HASHING)
    before = list_data_files(name, data_roots)
    # The other processes most likely see the same files.
    content = content_of(name, before, cache, on_hashed=hashing) if before and runtime.is_main else None
    data = load_job_data(spec, data_roots)
    listing = before
    if before is None or data.dataset.train.array is not None:
        listing = list_data_files(name, data_roots)
    if before is None and listing is not None and runtime.is_main:
        # It has been downloaded.
        content = content_of(name, listing, cache, on_hashed=hashing)
    elif before and listing and before.root == listing.root and before.signature != listing.signature:
        raise ValueError(f"{name} was changed while it was being read: start the job again once that has ended")
    content = _same_content(name, listing, content, cache, runtime)
    warnings = _overlap_warnings(data, content, cache) if runtime.is_main else []
    for warning in warnings:
        alert = Alert("test_images_in_training", "Test images are training images", warning, step=0, once=True)
        alert.raise_to(reporter)
    if listing is None or data.dataset.train.array is not None:
        return LoadedData(data, content, _never, warnings)
    # Images that are read one by one may change at any time.
    has_changed = partial(_have_changed, name, listing, content, data_roots, cache, on_hashed=hashing)
    return LoadedData(data, content, has_changed, warnings)


def _overlap_warnings(data: JobData, content: Content | None, cache: ContentCache) -> list[str]:
    count, num_images = num_test_images_in_training(data.dataset), len(data.dataset.test)
    if count is None and content is not None:
        count = count_test_files_in_training(content.sha256, cache)
    if not count:
        return []
    which = "is a training image too" if count == 1 else "are training images too"
    return [
        f"{count:,} of {num_images:,} test images {which}: what the model predicts for those shows what it remembers, "
        "not what it has learned"
    ]


def _same_content(
    name: str, listing: Listing | None, content: Content | None, cache: ContentCache, runtime: Runtime
) -> Content | None:
    """The content of the data of all processes, which the first one knows; raises ValueError if another has others."""
    if runtime.world_size == 1:
        return content
    signature = listing.signature if listing else None
    signature_of_first, content = runtime.gather_objects((signature, content))[0]
    own = content
    if listing is not None and signature != signature_of_first:
        # Copies on several machines have other statuses.
        own = content_of(name, listing, cache)
    seen = runtime.gather_objects((platform.node(), own.sha256 if own else None))
    other = next((rank for rank, (_, sha256) in enumerate(seen) if sha256 != seen[0][1]), None)
    if other is not None:
        first, differs = (f"{host} reads {_short(sha256)}" for host, sha256 in (seen[0], seen[other]))
        raise ValueError(
            f"{name} is not the same for all processes: rank 0 on {first}, rank {other} on {differs} (SHA-256 of the "
            "content). Give all machines the same data"
        )
    return content


def _short(sha256: str | None) -> str:
    return sha256[:12] if sha256 else "no data"


def _never() -> bool:
    return False


def _have_changed(
    name: str,
    before: Listing,
    content: Content | None,
    data_roots: Sequence[Path],
    cache: ContentCache,
    *,
    on_hashed: Callable[[], object],
) -> bool:
    """Whether the files of a dataset have another content than when they were listed before."""
    try:
        now = list_data_files(name, data_roots)
        if now is None or now.signature == before.signature:
            return now is None
        return content_of(name, now, cache, on_hashed=on_hashed) != content
    except ValueError:
        # They have been removed, or cannot be read any more.
        return True
