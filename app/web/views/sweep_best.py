"""The best of a sweep: the combination with the best mean over seeds, and the best single run, which may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.results.metrics.directions import Mode
from app.sweeps.schemas import LeaderboardRow, PointView


@dataclass(frozen=True)
class Best:
    """The first row of the leaderboard, whose best run new jobs start from, and the best run of all points."""

    row: LeaderboardRow
    run: PointView


def best_of(leaderboard: Sequence[LeaderboardRow], points: Sequence[PointView], mode: Mode) -> Best | None:
    """None until a job has reported the metric."""
    measured = [(point.value, point) for point in points if point.value is not None and point.job is not None]
    if not measured or leaderboard[0].mean is None:
        return None
    return Best(leaderboard[0], (max if mode == "max" else min)(measured, key=lambda pair: pair[0])[1])
