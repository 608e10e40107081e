"""The stored predictions of a job: one `.npz` file for each split, described in its `result.json`.

N images, C classes, C_k classes that the logits of a path stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, StringConstraints

from app.http.errors import NotFound, NotReady
from app.jobs.result import file_is_gone
from app.models import Job, State
from app.results.statistics.ensembles import mean_logits, mean_probabilities, product_of_probabilities, widen
from app.settings import Settings
from core.run.durable import DamagedFileError, read_json, verify_file
from core.run.rundir import RunDir

Split = Literal["val", "test"]
SPLIT_NAMES: dict[Split, str] = {"val": "validation", "test": "test"}
ENSEMBLES: dict[str, Callable[[Iterable[np.ndarray]], np.ndarray]] = {
    "ensemble_logits": mean_logits,
    "ensemble_probabilities": mean_probabilities,
    "ensemble_product": product_of_probabilities,
}
# Ensembles are computed in memory, in float64, one expert after another.
MAX_ENSEMBLE_LOGITS = 20_000_000
MAX_EXPERT_LOGITS = 200_000_000
# Not defined over classes that an expert does not know.
_NEED_ALL_CLASSES = ("ensemble_logits", "ensemble_product")


def why_too_many_logits(num_images: int, num_classes: int, num_experts: int) -> str:
    """Why the outputs of so many experts are not put together in the service; empty if they can be."""
    size = num_images * num_classes
    for number, limit, what in (
        (size, MAX_ENSEMBLE_LOGITS, "images times classes"),
        (size * num_experts, MAX_EXPERT_LOGITS, "images times classes times experts"),
    ):
        if number > limit:
            return f"{number:,} logits ({what}) are too many to be put together in the service; the limit is {limit:,}"
    return ""


class NotStored(NotFound):
    """A job that has succeeded has no predictions on a split; `reason` says why, as a clause."""

    summary = "are not stored"

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Damaged(NotStored):
    """The file of a split cannot be read."""

    summary = "are damaged"


def stored_split(settings: Settings, job: Job, split: Split) -> StoredSplit:
    """The predictions of a job on a split; raises NotFound that says why there are none, NotStored if it succeeded."""
    run = RunDir(settings.runs_dir / job.id)
    try:
        entry = (read_json(run.result).get("predictions") or {}).get(split)
        if entry is not None and "absent" not in entry:
            entry = _Entry.model_validate(entry).model_dump()
    except FileNotFoundError:
        if job.state == State.succeeded:
            raise file_is_gone(job, "the result.json") from None
        state = State(job.state).value
        raise NotReady(f"{job.id} is {state} and has no predictions: they are stored when the job succeeds") from None
    except (OSError, DamagedFileError, AttributeError, TypeError, ValueError):
        raise NotFound(f"{job.id} has no predictions: its result.json is damaged") from None
    if entry is None:
        reason = "it ended before this version, which stores them"
        raise NotStored(
            f"{job.id} has no predictions: {reason}. An evaluate job of its components stores those of the same model",
            reason,
        )
    if "absent" in entry:
        reason = str(entry["absent"])
        raise NotStored(
            f"{job.id} has no predictions on {SPLIT_NAMES[split]} images: {reason}. {_how_to_get_them(job)}", reason
        )
    return StoredSplit(job.id, split, run.predictions(split), entry)


def _how_to_get_them(job: Job) -> str:
    option = "evaluation.store_predictions: true"
    if job.kind == "expert":
        return f"To have them, submit the job again with {option}"
    return f"An evaluate job of its components with {option} stores those of the same model"


class _Entry(BaseModel):
    """What `result.json` says about one file."""

    file: str
    bytes: int
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    dataset: str
    num_images: int
    num_classes: int
    dtype: str
    paths: dict[str, tuple[int, int]]


class Predicted(NamedTuple):
    """What a path predicts: ids, labels and predicted classes of the images, each (N,)."""

    ids: np.ndarray
    labels: np.ndarray
    classes: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether each image is classified correctly (N,)."""
        return np.asarray(self.classes == self.labels)


@dataclass(frozen=True)
class StoredSplit:
    """The file of one split and its entry in `result.json`. Arrays are read one by one, when they are needed."""

    job_id: str
    split: Split
    file: Path
    entry: Mapping[str, Any]

    @property
    def paths(self) -> list[str]:
        """The paths with logits, and the ensembles that follow from them."""
        return [*self.entry["paths"], *(name for name in ENSEMBLES if not self._why_no_ensemble(name))]

    @property
    def num_classes(self) -> int:
        """Classes of the data set."""
        return int(self.entry["num_classes"])

    @property
    def version(self) -> tuple[str, ...]:
        """Another one if the file has been written to, deleted or put back."""
        try:
            status = self.file.stat()
        except OSError:
            return (self.entry["sha256"],)
        return self.entry["sha256"], str(status.st_mtime_ns), str(status.st_ino)

    def check_path(self, path: str) -> None:
        """Raises NotFound for a path that these predictions do not have."""
        if path not in self.paths:
            why = f" because {self._why_no_ensemble(path)}" if path in ENSEMBLES else ""
            raise NotFound(f"{self.job_id} has no predictions of {path!r}{why}; it has {', '.join(self.paths)}")

    def ids_and_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of every image in the data set's own training or test set, and its label, both (N,)."""
        arrays = self._read("ids", "labels")
        return arrays["ids"], arrays["labels"]

    def predicted(self, path: str) -> Predicted:
        """What a path, which is no ensemble, predicts; reads no logits."""
        self.check_path(path)
        arrays = self._read("ids", "labels", f"predicted_{path}")
        return Predicted(arrays["ids"], arrays["labels"], arrays[f"predicted_{path}"])

    def logits(self, path: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits (N, C_k) of a path, and the classes that they stand for (None: all, in order).

        Those of `ensemble_probabilities` are logarithms of the mean probabilities.
        """
        self.check_path(path)
        if path not in ENSEMBLES:
            return self._logits(path)
        return ENSEMBLES[path](widen(*self._logits(name), self.num_classes) for name in self._experts()), None

    def all_arrays(self) -> dict[str, np.ndarray]:
        """Every array of the file."""
        return self._read()

    def _why_no_ensemble(self, name: str) -> str:
        """Why an ensemble cannot be computed; empty if it can."""
        experts = self._experts()
        if len(experts) < 2:
            return "it takes at least two experts"
        if name in _NEED_ALL_CLASSES and any(self.entry["paths"][one][1] < self.num_classes for one in experts):
            return "some of its experts do not know all classes"
        return why_too_many_logits(int(self.entry["num_images"]), self.num_classes, len(experts))

    def _experts(self) -> list[str]:
        return [name for name in self.entry["paths"] if name.startswith("expert_") and not name.endswith("_before")]

    def _logits(self, path: str) -> tuple[np.ndarray, np.ndarray | None]:
        arrays = self._read(f"logits_{path}", optional=f"classes_{path}")
        return arrays[f"logits_{path}"], arrays.get(f"classes_{path}")

    def _read(self, *names: str, optional: str | None = None) -> dict[str, np.ndarray]:
        """These arrays of the file and the optional one if it is there; without names, all of them.

        Raises NotStored for a file that is missing or damaged.
        """
        try:
            status = self.file.stat()
            _verify(self.file, self.entry["sha256"], self.entry["bytes"], (status.st_mtime_ns, status.st_ino))
            # NumPy would leave a file open that is no archive.
            with self.file.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                chosen = [*(names or arrays), *([optional] if optional in arrays else [])]
                return {name: arrays[name] for name in chosen}
        except FileNotFoundError:
            detail = f"the predictions of {self.job_id} have been deleted from its run directory"
            raise NotStored(detail, "they have been deleted from its run directory") from None
        except Exception:  # a damaged archive raises many types of errors
            detail = f"the predictions of {self.job_id} are damaged: {self.file.name} cannot be read"
            raise Damaged(detail, f"{self.file.name} cannot be read") from None


# The status is part of the key, so that a file is verified again once it has been written to.
@lru_cache(maxsize=1_024)
def _verify(file: Path, sha256: str, size_bytes: int, _status: tuple[int, int]) -> None:
    """Raises DamagedFileError for a file that is not the one that the job wrote."""
    verify_file(file, sha256=sha256, size_bytes=size_bytes)
