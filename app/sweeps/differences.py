"""The test accuracy of every row of a leaderboard minus that of one of them, with a 95 % interval and a p value.

Rows that were trained with several seeds are compared over the seeds that both have, by the paired t test: it says
what other seeds would change. Rows with one seed in common are compared on the test images of these two jobs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sqlmodel import Session

from app.http.errors import Invalid
from app.jobs.queries import jobs_in_order
from app.results.predictions.pairs import paired_difference, remembered_difference
from app.results.predictions.schemas import Difference
from app.results.statistics.seeds import paired_difference as difference_over_seeds
from app.settings import Settings
from app.sweeps import queries, ranking
from app.sweeps.queries import TestData
from app.sweeps.ranking import Score
from app.sweeps.schemas import LeaderboardRow, RowDifference
from core.run.content import ContentCache, have_same_test_data

# Rows that are compared on images, which takes their files.
MAX_ON_IMAGES = 50
# Files that were not read before may be large; what is missing after this time comes with a later request.
MAX_SECONDS = 1.0
# Seeds with their runs.
Runs = Mapping[str, Score]


def with_differences(
    session: Session,
    settings: Settings,
    sweep_id: str,
    rows: Sequence[LeaderboardRow],
    scores: Sequence[Score],
    baseline: str | None = None,
) -> list[LeaderboardRow]:
    """The rows with their differences to the first one, or to the row of the job `baseline`; raises Invalid for others.

    `scores` are those that the rows were made from.
    """
    against = _baseline(rows, baseline)
    if against is None:
        return list(rows)
    runs = {key: _measured(group) for key, group in ranking.grouped(scores).items()}
    data = queries.test_data(session, sweep_id)
    of_baseline = runs[ranking.row_key(against.values)]
    compared: list[LeaderboardRow] = []
    on_images: list[tuple[int, str, str]] = []
    for row in rows:
        of_row = runs[ranking.row_key(row.values)]
        shared = [seed for seed in of_row if seed in of_baseline]
        if row is against:
            row = row.model_copy(update={"is_baseline": True})
        elif not shared:
            row = _without(row, "no seed of both rows has a test accuracy")
        elif len(shared) == 1:
            on_images.append((len(compared), _job(of_row[shared[0]]), _job(of_baseline[shared[0]])))
        else:
            pairs = [(of_row[seed], of_baseline[seed]) for seed in shared]
            row = _over_seeds(row, pairs, data, ContentCache(settings.content_cache))
        compared.append(row)
    for index, (difference, why) in _on_images(session, settings, on_images).items():
        row = compared[index]
        compared[index] = row.model_copy(update={"difference": difference}) if difference else _without(row, why)
    return compared


def _baseline(rows: Sequence[LeaderboardRow], baseline: str | None) -> LeaderboardRow | None:
    if baseline is None:
        return rows[0] if rows and rows[0].mean is not None else None
    for row in rows:
        if baseline in row.jobs:
            return row
    raise Invalid(f"baseline: {baseline[:80]!r} is not a job of this sweep; give the id of any job of the row")


def _measured(scores: Sequence[Score]) -> dict[str, Score]:
    return {
        ranking.seed_key(score.values): score for score in scores if score.job_id and score.test_accuracy is not None
    }


def _job(score: Score) -> str:
    assert score.job_id is not None
    return score.job_id


def _without(row: LeaderboardRow, why: str) -> LeaderboardRow:
    return row.model_copy(update={"no_difference": why})


def _over_seeds(
    row: LeaderboardRow,
    pairs: Sequence[tuple[Score, Score]],
    data: Mapping[str, TestData],
    cache: ContentCache,
) -> LeaderboardRow:
    if not all(_same_images(data.get(_job(one)), data.get(_job(other)), cache) for one, other in pairs):
        return _without(row, "the two rows were not measured on the same test images")
    values = [one.test_accuracy - other.test_accuracy for one, other in pairs]  # type: ignore[operator]
    result = difference_over_seeds(values)
    if result is None:
        return _without(
            row,
            f"the difference is {100 * values[0]:+.2f} points with each of {len(values)} seeds, from which no interval "
            "follows",
        )
    return row.model_copy(
        update={
            "difference": RowDifference(
                value=result.value,
                low=result.interval.low,
                high=result.interval.high,
                p=result.p,
                method="seeds",
                n=len(values),
            )
        }
    )


def _same_images(one: TestData | None, other: TestData | None, cache: ContentCache) -> bool:
    """By the content of the data where both jobs recorded it, else by the name of the data set."""
    if one is None or other is None:
        return False
    if one.data_sha256 is None or other.data_sha256 is None:
        return one.dataset == other.dataset
    return have_same_test_data(one.data_sha256, other.data_sha256, cache)


def _on_images(
    session: Session, settings: Settings, pairs: Sequence[tuple[int, str, str]]
) -> dict[int, tuple[RowDifference | None, str]]:
    """Differences of pairs of jobs by the index of the row: those that are known at once, others as time allows."""
    late = f"only the first {MAX_ON_IMAGES} rows are compared on images: `GET /compare` compares any two jobs"
    outcomes: dict[int, tuple[RowDifference | None, str]] = {index: (None, late) for index, *_ in pairs}
    unknown = []
    for index, job_id, baseline in pairs[:MAX_ON_IMAGES]:
        known = remembered_difference(settings, job_id, baseline)
        if known is None:
            unknown.append((index, job_id, baseline))
        else:
            outcomes[index] = _as_row(known.difference, known.num_images), known.why
    ids = list(dict.fromkeys(job_id for _, *both in unknown for job_id in both))
    jobs = {job.id: job for job in jobs_in_order(session, ids)} if ids else {}
    deadline = time.monotonic() + MAX_SECONDS
    for index, job_id, baseline in unknown:
        if time.monotonic() > deadline:
            outcomes[index] = None, "it has not been computed yet: read the leaderboard again"
        elif job_id in jobs and baseline in jobs:
            outcome = paired_difference(settings, jobs[job_id], jobs[baseline])
            outcomes[index] = _as_row(outcome.difference, outcome.num_images), outcome.why
        else:
            outcomes[index] = None, "its job was deleted"
    return outcomes


def _as_row(difference: Difference | None, num_images: int) -> RowDifference | None:
    if difference is None:
        return None
    return RowDifference(
        value=difference.value,
        low=difference.low,
        high=difference.high,
        p=difference.p,
        method="images",
        n=num_images,
    )
