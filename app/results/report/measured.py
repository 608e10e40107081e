"""Models that are measured on the same test images: paths of jobs, and ensembles of several jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.http.errors import Invalid
from app.models import Job
from app.results.predictions.comparison import (
    Answers,
    Side,
    default_path,
    difference_of,
    kept,
    measure,
)
from app.results.predictions.same_images import check_same_data, common_labels
from app.results.predictions.schemas import Difference, Model
from app.results.predictions.stored import StoredSplit, stored_split, why_too_many_logits
from app.results.statistics.calibration import expected_calibration_error
from app.results.statistics.ensembles import mean_probabilities, widen
from app.results.statistics.intervals import accuracy_interval
from app.results.statistics.scores import score
from app.settings import Settings


@dataclass(frozen=True)
class Measured:
    """A model with its figures, and whether each test image is classified correctly (N,)."""

    model: Model
    correct: np.ndarray

    def minus(self, other: Measured) -> Difference:
        """The accuracy of this model minus that of another one on the same images."""
        return difference_of(self.correct, other.correct)


class TestImages:
    """The test images of one job, on which other jobs are measured too. Raises NotFound without predictions."""

    def __init__(self, settings: Settings, job: Job) -> None:
        self._settings = settings
        self._job = job
        self.stored: StoredSplit = stored_split(settings, job, "test")
        _, self.labels = self.stored.ids_and_labels()

    def paths(self) -> tuple[dict[str, Measured], dict[str, str]]:
        """Every path of the job itself, and why some cannot be measured; raises Invalid if none can."""
        measured: dict[str, Measured] = {}
        broken: dict[str, str] = {}
        for name in self.stored.paths:
            try:
                measured[name] = self.path(name)
            except Invalid as problem:
                broken[name] = problem.detail
        if not measured:
            raise Invalid(f"no path of {self._job.id} can be measured: {next(iter(broken.values()), 'it has none')}")
        return measured, broken

    def path(self, name: str) -> Measured:
        """A path of the job itself."""
        return Measured(*self._measure(self._job, self.stored, name))

    def other(self, job: Job) -> Measured:
        """The model of another job; raises NotFound or Invalid that says why it cannot be measured here."""
        return Measured(*self._measure(job, self._same_images(job), default_path(job.kind)))

    def ensemble(self, jobs: Sequence[Job], name: str) -> Measured:
        """The mean of the probabilities of several jobs; raises as `other` does."""
        if why := why_too_many_logits(len(self.labels), self.stored.num_classes, len(jobs)):
            raise Invalid(why)
        splits = [self._same_images(job) for job in jobs]
        digests = (part for job, split in zip(jobs, splits, strict=True) for part in (split.entry["sha256"], job.id))
        model, answers = kept((name, *digests), lambda: self._ensemble(jobs, splits, name))
        return Measured(model, answers.correct)

    def _ensemble(self, jobs: Sequence[Job], splits: Sequence[StoredSplit], name: str) -> tuple[Model, Answers]:
        logits = (
            widen(*split.logits(default_path(job.kind)), split.num_classes)
            for job, split in zip(jobs, splits, strict=True)
        )
        scores = score(mean_probabilities(logits), self.labels)
        if not np.isfinite(scores.confidence).all():
            raise Invalid("a member of the ensemble has outputs that are not finite")
        interval = accuracy_interval(int(scores.correct.sum()), len(self.labels))
        model = Model(
            job=jobs[0].id,
            name=name,
            path="ensemble_probabilities",
            accuracy=scores.accuracy,
            low=interval.low,
            high=interval.high,
            nll=scores.nll if math.isfinite(scores.nll) else None,
            ece=expected_calibration_error(scores.confidence, scores.correct),
            scaled=None,
            not_scaled="its members were validated on images of their own",
        )
        return model, Answers(scores.predicted, scores.correct)

    def _same_images(self, job: Job) -> StoredSplit:
        stored = stored_split(self._settings, job, "test")
        same_data = check_same_data(self._settings, self._job, job, "test")
        common_labels(self.stored, stored, same_data=same_data)
        return stored

    def _measure(self, job: Job, stored: StoredSplit, path: str) -> tuple[Model, np.ndarray]:
        model, answers = measure(self._settings, Side(job, path), stored, self.labels)
        return model, answers.correct
