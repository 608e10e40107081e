"""The jobs that the parts of a model come from: whether they, and those before them, had the data of the job."""

from __future__ import annotations

from collections.abc import Sequence

from app.jobs.sources import Source
from app.results.report.data_content import DataContent


def part_of(source: Source) -> str:
    """The part of a model that comes from a job, in words."""
    if source.field.startswith("expert"):
        return f"expert {source.field.removeprefix('experts.').replace('expert', '0')}"
    return {"fusion": "the fusion module", "head": "the head"}[source.field]


def why_other_data(sources: Sequence[Source], data: DataContent) -> str | None:
    """Which part of a model was trained on other data than the job, as a clause; None if none is known to be."""
    for source in sources:
        if source.job is not None and (why := data.why_other(source.job)):
            return f"{part_of(source)} {why}"
    return None


def data_notes(sources: Sequence[Source], data: DataContent) -> list[str]:
    """What parts of a model were trained on other data than the job, or perhaps were."""
    notes = []
    other = [
        f"{part_of(source)} ({source.job.id}) {why}"
        for source in sources
        if source.job is not None and (why := data.why_other(source.job))
    ]
    if other:
        notes.append(f"Not all of this model was trained on the data of this job: {'; '.join(dict.fromkeys(other))}.")
    unknown = [
        f"{part_of(source)} ({source.job_id or 'from a component that has been deleted'})"
        for source in sources
        if source.job is None or data.is_same(source.job) is None
    ]
    if unknown:
        notes.append(
            f"On which data these were trained is not known, so they may be others than those of this job: "
            f"{', '.join(dict.fromkeys(unknown))}."
        )
    return notes
