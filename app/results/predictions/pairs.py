"""The difference of two jobs on the same test images, from what they predict.

Pages and leaderboards show many of them again and again, so they are remembered as long as the files are the same.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from app.http.errors import Invalid, NotFound
from app.models import Job
from app.results.predictions.comparison import Side, default_path, difference_of, not_finite
from app.results.predictions.same_images import OtherImages, check_same_data, common_labels
from app.results.predictions.schemas import Difference
from app.results.predictions.stored import StoredSplit, stored_split
from app.results.statistics.scores import num_not_finite
from app.settings import Settings
from core.run.rundir import RunDir

MAX_REMEMBERED = 8_192
K = TypeVar("K")
V = TypeVar("V")


class PairOutcome(NamedTuple):
    """The accuracy of one job minus that of another one on the same test images; without it, `why` there is none.

    `other_images` says how their test images differ, as a clause; empty where they are not known to differ.
    """

    difference: Difference | None
    num_images: int = 0
    why: str = ""
    other_images: str = ""


_remembered: dict[tuple[object, ...], PairOutcome] = {}
# Images with outputs that are not finite, by the content of a file and a path of it.
_num_broken: dict[tuple[str, str], int] = {}
_lock = threading.Lock()


def remembered_difference(settings: Settings, a: str, b: str) -> PairOutcome | None:
    """The difference of two jobs, given by their ids, if it is known for the files as they are now."""
    return _remembered.get(_key(settings, a, b))


def paired_difference(settings: Settings, a: Job, b: Job) -> PairOutcome:
    """The accuracy of a minus that of b, each by its fused path or its only expert.

    Reads labels and predicted classes, and of each file once the logits, of which none may be NaN or infinite.
    """
    key = _key(settings, a.id, b.id)
    if (known := _remembered.get(key)) is not None:
        return known
    same_data = False
    try:
        same_data = check_same_data(settings, a, b, "test")
        stored_a, stored_b = (stored_split(settings, job, "test") for job in (a, b))
        common_labels(stored_a, stored_b, same_data=same_data)
        correct_a, correct_b = _correct(a, stored_a), _correct(b, stored_b)
    # Not remembered: a job may still succeed, and what its data contain may still be recorded.
    except OtherImages as problem:
        return PairOutcome(None, why=problem.detail, other_images=problem.reason)
    except (Invalid, NotFound) as problem:
        return PairOutcome(None, why=problem.detail, other_images="" if same_data else _other_names(a, b))
    outcome = PairOutcome(difference_of(correct_a, correct_b), len(correct_a))
    _remember(_remembered, key, outcome)
    return outcome


def _other_names(a: Job, b: Job) -> str:
    """How the test images of two jobs differ by the names of their data sets, where predictions cannot tell."""
    names = [job.spec["dataset"]["name"] for job in (a, b)]
    return "" if names[0] == names[1] else f"one on {names[0]}, the other on {names[1]}"


def _correct(job: Job, stored: StoredSplit) -> np.ndarray:
    """Whether each image is classified correctly (N,); raises Invalid for outputs that are not finite."""
    side = Side(job, default_path(job.kind))
    key = (stored.entry["sha256"], side.path)
    broken = _num_broken.get(key)
    if broken is None:
        broken = num_not_finite(stored.logits(side.path)[0])
        _remember(_num_broken, key, broken)
    if broken:
        raise not_finite(side, broken, int(stored.entry["num_images"]))
    return stored.predicted(side.path).correct


def _remember(values: dict[K, V], key: K, value: V) -> None:
    with _lock:
        while len(values) >= MAX_REMEMBERED:
            del values[next(iter(values))]
        values[key] = value


def _key(settings: Settings, a: str, b: str) -> tuple[object, ...]:
    return tuple(part for job_id in (a, b) for part in (job_id, *_status(RunDir(settings.runs_dir / job_id))))


def _status(run: RunDir) -> tuple[object, ...]:
    return tuple(_modified(file) for file in (run.result, run.predictions("test")))


def _modified(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
