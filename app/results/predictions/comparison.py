"""Two models on the same images: accuracies, their difference, calibration."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.http.errors import Invalid, NotFound
from app.models import Job
from app.results.predictions.same_images import check_same_data, common_labels
from app.results.predictions.schemas import ClassAccuracy, Comparison, Difference, Model, Scaled
from app.results.predictions.stored import ENSEMBLES, Split, StoredSplit, stored_split
from app.results.predictions.wording import sentence
from app.results.statistics.agreement import accuracy_by_class, disagreement_matrix, discordance, oracle_accuracy
from app.results.statistics.calibration import expected_calibration_error
from app.results.statistics.intervals import accuracy_interval, difference_interval
from app.results.statistics.mcnemar import exact_p
from app.results.statistics.scores import num_not_finite, score
from app.results.statistics.temperature import fit_temperature
from app.settings import Settings


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a path of a job."""

    job: Job
    path: str

    @property
    def name(self) -> str:
        """The name of the job, or its id, and the path."""
        return f"{self.job.name or self.job.id} ({self.path})"


class Answers(NamedTuple):
    """What a path predicts for every image, and whether that is right, both (N,)."""

    predicted: np.ndarray
    correct: np.ndarray


# Figures by the digests of the predictions, jobs and paths, oldest first; some hundred kilobytes each.
MAX_MEASURED = 64
_measured: dict[tuple[str, ...], tuple[Model, Answers]] = {}
# The logits of many images take much memory.
_one_at_a_time = threading.Lock()


def default_path(kind: str) -> str:
    """The path that stands for a job: its fused path, or the expert of a job that trains one."""
    return "expert_0" if kind == "expert" else "fused"


def compare(settings: Settings, a: Side, b: Side, split: Split) -> Comparison:
    """Compares two paths. Raises NotFound without predictions, and Invalid where the images are not the same."""
    stored_a, stored_b = (stored_split(settings, side.job, split) for side in (a, b))
    same_data = check_same_data(settings, a.job, b.job, split)
    labels = common_labels(stored_a, stored_b, same_data=same_data)
    model_a, answers_a = measure(settings, a, stored_a, labels)
    model_b, answers_b = measure(settings, b, stored_b, labels)
    difference = difference_of(answers_a.correct, answers_b.correct)
    images = np.bincount(labels, minlength=stored_a.num_classes)
    by_class = zip(
        *(accuracy_by_class(answers.correct, labels, stored_a.num_classes) for answers in (answers_a, answers_b)),
        strict=True,
    )
    is_same = (a.job.id, a.path) == (b.job.id, b.path)
    return Comparison(
        sentence=same_model(a) if is_same else sentence(*names_of(a, b), difference, len(labels)),
        split=split,
        dataset=str(stored_a.entry["dataset"]),
        num_images=len(labels),
        a=model_a,
        b=model_b,
        difference=difference,
        disagreement=float(disagreement_matrix([answers_a.predicted, answers_b.predicted])[0, 1]),
        oracle=oracle_accuracy([answers_a.correct, answers_b.correct]),
        by_class=[
            ClassAccuracy(label=label, num_images=int(count), a=of_a, b=of_b)
            for label, (count, (of_a, of_b)) in enumerate(zip(images, by_class, strict=True))
        ],
    )


def difference_of(correct_a: np.ndarray, correct_b: np.ndarray) -> Difference:
    """The difference of two accuracies on the same images."""
    counts = discordance(correct_a, correct_b)
    num_images = len(correct_a)
    interval = difference_interval(*counts, num_images)
    return Difference(
        value=(counts.only_a - counts.only_b) / num_images,
        low=interval.low,
        high=interval.high,
        excludes_zero=interval.excludes_zero,
        only_a=counts.only_a,
        only_b=counts.only_b,
        p=exact_p(*counts),
    )


def measure(settings: Settings, side: Side, stored: StoredSplit, labels: np.ndarray) -> tuple[Model, Answers]:
    """The figures of a path, and its answers; raises Invalid for outputs that are not finite.

    What was measured is kept by the content of the files: a report is read more than once.
    """
    key = (stored.entry["sha256"], side.job.id, side.path, *_validation_key(settings, side, stored))
    model, answers = kept(key, lambda: _measure(settings, side, stored, labels))
    return model.model_copy(update={"name": side.job.name}), answers


def _validation_key(settings: Settings, side: Side, stored: StoredSplit) -> tuple[str, ...]:
    """What tells the file on which the temperature is fitted from what it was before, or why there is none."""
    if stored.split == "val":
        return ()
    try:
        return stored_split(settings, side.job, "val").version
    except NotFound as problem:
        return (problem.detail,)


def kept(key: tuple[str, ...], compute: Callable[[], tuple[Model, Answers]]) -> tuple[Model, Answers]:
    """Figures that were computed before under this key, which names the content of all files, or computes them."""
    with _one_at_a_time:
        if key not in _measured:
            value = compute()
            while len(_measured) >= MAX_MEASURED:
                del _measured[next(iter(_measured))]
            _measured[key] = value
        return _measured[key]


def not_finite(side: Side, num_broken: int, num_images: int) -> Invalid:
    """The error for a path with outputs that are NaN or infinite, from which nothing can be measured."""
    return Invalid(f"{side.name} has outputs that are not finite for {num_broken:,} of {num_images:,} images")


def _measure(settings: Settings, side: Side, stored: StoredSplit, labels: np.ndarray) -> tuple[Model, Answers]:
    logits, classes = stored.logits(side.path)
    if broken := num_not_finite(logits):
        raise not_finite(side, broken, len(labels))
    scores = score(logits, labels, classes)
    # Rounding to float16 can make two logits equal.
    predicted = scores.predicted if side.path in ENSEMBLES else stored.predicted(side.path).classes
    answers = Answers(predicted, np.asarray(predicted == labels))
    interval = accuracy_interval(int(answers.correct.sum()), len(labels))
    scaled, why = None, "the temperature would be fitted on the same images"
    if stored.split != "val":
        scaled, why = _scaled(settings, side, logits, labels, classes, answers)
    model = Model(
        job=side.job.id,
        name=side.job.name,
        path=side.path,
        accuracy=float(answers.correct.mean()),
        low=interval.low,
        high=interval.high,
        nll=scores.nll if math.isfinite(scores.nll) else None,
        ece=expected_calibration_error(scores.confidence, answers.correct) if classes is None else None,
        scaled=scaled,
        not_scaled=why or None,
    )
    return model, answers


def _scaled(
    settings: Settings,
    side: Side,
    logits: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray | None,
    answers: Answers,
) -> tuple[Scaled | None, str]:
    """Calibration at the temperature of the validation images; or why there is none."""
    try:
        validation = stored_split(settings, side.job, "val")
        _, validation_labels = validation.ids_and_labels()
        temperature = fit_temperature(validation.logits(side.path)[0], validation_labels, classes)
    except NotFound as problem:
        return None, problem.detail
    except ValueError as error:
        return None, str(error)
    scores = score(logits, labels, classes, temperature=temperature)
    if not math.isfinite(scores.nll):
        return None, "some images have a class of probability 0"
    ece = expected_calibration_error(scores.confidence, answers.correct)
    return (
        Scaled(temperature=temperature, num_validation_images=len(validation_labels), nll=scores.nll, ece=ece),
        "",
    )


def same_model(side: Side) -> str:
    """What is said of a model that is compared with itself."""
    return f"A and B are the same model, {side.name}: there is no difference to measure"


def names_of(a: Side, b: Side) -> tuple[str, str]:
    """Names that tell the two apart: by their jobs, by their paths, or by both."""
    jobs = (a.job.name or a.job.id, b.job.name or b.job.id)
    if a.job.id == b.job.id:
        return a.path, b.path
    if jobs[0] == jobs[1]:
        jobs = (a.job.id, b.job.id)
    if a.path == b.path == default_path(a.job.kind) == default_path(b.job.kind):
        return jobs
    return f"{jobs[0]} ({a.path})", f"{jobs[1]} ({b.path})"
