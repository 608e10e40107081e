"""Loads the data of a run together with a digest of their content, and tells whether they stay as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core.data.job_data import JobData, load_job_data
from core.reporting.activity import Activity
from core.run.content import Content, ContentCache, content_of
from core.run.data_files import Listing, list_data_files
from core.spec import JobSpec

HASHING = "hashing the data"


class LoadedData(NamedTuple):
    """The data of a job and, in the main process, their content.

    `has_changed` says whether the data have become others since; of images in memory they cannot.
    """

    data: JobData
    content: Content | None
    has_changed: Callable[[], bool]


def load_with_content(
    spec: JobSpec, data_roots: Sequence[Path], cache: ContentCache, activity: Activity, *, is_main: bool
) -> LoadedData:
    """Loads the data of a job; raises ValueError if they change while being read."""
    name = spec.dataset.name
    if not is_main:
        return LoadedData(load_job_data(spec, data_roots), None, _never)
    hashing = partial(activity.note, HASHING)
    before = list_data_files(name, data_roots)
    content = content_of(name, before, cache, on_hashed=hashing) if before else None
    data = load_job_data(spec, data_roots)
    if before is not None and data.dataset.train.array is None:
        # Images that are read one by one may change at any time.
        return LoadedData(
            data, content, lambda: _have_changed(name, before, content, data_roots, cache, on_hashed=hashing)
        )
    after = list_data_files(name, data_roots)
    if before is None and after is not None:
        # It has been downloaded.
        content = content_of(name, after, cache, on_hashed=hashing)
    elif before and after and before.root == after.root and before.signature != after.signature:
        raise ValueError(f"{name} was changed while it was being read: start the job again once that has ended")
    return LoadedData(data, content, _never)


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
