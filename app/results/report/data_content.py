"""Whether other jobs were trained on the data of one job, by the content that each of them recorded."""

from __future__ import annotations

from app.models import Job
from app.settings import Settings
from core.run.content import ContentCache, describe_difference


class DataContent:
    """The data of one job, with which those of others are compared: any difference makes them other data."""

    def __init__(self, settings: Settings, job: Job) -> None:
        self._cache = ContentCache(settings.content_cache)
        self._job = job

    def is_same(self, other: Job) -> bool | None:
        """Whether another job has the same data; None where the content of either was not recorded."""
        if self._job.data_sha256 is None or other.data_sha256 is None:
            return None
        return self._job.data_sha256 == other.data_sha256

    def why_other(self, other: Job) -> str | None:
        """A clause that says on what other data a job was trained; None if they are the same, or not known."""
        if self.is_same(other) is not False:
            return None
        name = other.spec["dataset"]["name"]
        if name != self._job.spec["dataset"]["name"]:
            return f"was trained on another dataset ({name})"
        difference = describe_difference(self._job.data_sha256 or "", other.data_sha256 or "", self._cache)
        return "was trained on other data" + (f": {difference}" if difference else "")
