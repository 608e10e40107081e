"""Which data and software a job would use if it started now, as columns of its row: the other half of its digest."""

from __future__ import annotations

import logging
from typing import Any

from app.settings import Settings
from core.run.content import ContentCache, find_content
from core.run.environment import installed_software, software
from core.spec import FusionJob, JobSpec

log = logging.getLogger(__name__)
# What a request may read that nobody has hashed before: a fraction of a second, and some seconds for a whole sweep.
_QUICK_BYTES = 64 << 20
_SWEEP_BYTES = 8 << 30
# A list of these takes some ten megabytes.
_MAX_FILES = 100_000


def columns_of_submission(settings: Settings, spec: JobSpec) -> dict[str, Any]:
    """The columns of a single job. One with controls waits for its data, which tell which controls exist already."""
    if isinstance(spec, FusionJob) and spec.controls:
        return DataColumns(settings, for_sweep=True).of(spec)
    # Looking for edited files takes as long as the rest of a submission, and would tell nobody anything: no job is
    # compared by its software before it starts, and then it reports what it runs on.
    return DataColumns(settings, software_key=software().key).of(spec)


class DataColumns:
    """Looks up the content of each dataset once.

    For a whole sweep some seconds may pass. A single job does not wait for that: of a dataset that is large or has many
    files, nothing is known until the job starts. `software_key` is that of the software on the disk unless it is given.
    """

    def __init__(self, settings: Settings, *, for_sweep: bool = False, software_key: str | None = None) -> None:
        self._roots = settings.roots
        self._cache = ContentCache(settings.content_cache)
        self._for_sweep = for_sweep
        self._software_key = software_key or installed_software().key
        self._known: dict[str, str | None] = {}
        self._problems: dict[str, str] = {}

    def of(self, spec: JobSpec) -> dict[str, Any]:
        """The columns of a job; `data_sha256` is null for data that are not there yet, or too many to read at once."""
        name = spec.dataset.name
        if name not in self._known:
            self._known[name] = self._sha256(name)
        return {"data_sha256": self._known[name], "software_key": self._software_key}

    def problem(self, spec: JobSpec) -> str | None:
        """Why the data of a job that was looked up cannot be read, with their path; None if nothing is wrong."""
        return self._problems.get(spec.dataset.name)

    def _sha256(self, name: str) -> str | None:
        # Even to look at the names in a folder of a million images takes seconds.
        if not self._for_sweep and name.startswith("imagefolder:"):
            return None
        max_bytes = _SWEEP_BYTES if self._for_sweep else _QUICK_BYTES
        try:
            content = find_content(name, self._roots, self._cache, max_bytes=max_bytes, max_files=_MAX_FILES)
        except ValueError as error:
            # The job will find the same, and report it.
            log.info("content of %s is not known: %s", name, error)
            self._problems[name] = str(error)
            return None
        return content.sha256 if content else None
