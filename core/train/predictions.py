"""Stored predictions: the logits of every path on the validation and the test images, in one file for each split.

They are kept while a model is measured, so that the test set costs no second pass.

N images, C classes, C_k classes of path k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.data import Batches
from core.data.dataset import Images
from core.data.job_data import JobData, validation_batches
from core.model.model import MultiExpertModel, Outputs
from core.reporting.activity import Activity
from core.run.durable import sha256_of, write_durably
from core.run.rundir import RunDir
from core.runtime import Runtime
from core.spec import JobSpec

# Sizes of a file with float32.
FLOAT16_ABOVE_BYTES = 64 << 20
OFF_ABOVE_BYTES = 1 << 30
_LARGEST_FLOAT16 = 65504.0


class Storage(NamedTuple):
    """The type in which logits are stored; None where they are not, and why."""

    dtype: torch.dtype | None
    why: str = ""


def storage_of(requested: Literal["auto"] | bool, num_logits: int) -> Storage:
    """How the logits of one split are stored, by `evaluation.store_predictions` and their number over all paths."""
    size = 4 * num_logits
    if requested is False:
        return Storage(None, "evaluation.store_predictions is false")
    if requested == "auto" and size > OFF_ABOVE_BYTES:
        return Storage(
            None,
            f"the logits take {size / 2**30:.1f} GiB as float32; more than {OFF_ABOVE_BYTES / 2**30:g} GiB are stored "
            "only with evaluation.store_predictions: true",
        )
    return Storage(torch.float16 if size > FLOAT16_ABOVE_BYTES else torch.float32)


def path_names(model: MultiExpertModel) -> list[str]:
    """The paths of a model in the order of its outputs: `fused` if it has a fusion module, `expert_0`, .."""
    return ["fused"] * (model.fusion is not None) + [f"expert_{k}" for k in model.present_experts()]


class SplitRecorder:
    """The logits of one split, collected from the passes of one or more models over the same batches."""

    def __init__(
        self, images: Images, batches: Batches, storage: Storage, *, num_classes: int, dataset: str, runtime: Runtime
    ) -> None:
        self._images = images
        self._storage = storage
        self._num_classes = num_classes
        self._dataset = dataset
        self._runtime = runtime
        self._arrays: dict[str, np.ndarray] = {}
        self.batches = batches
        ids = runtime.gather([torch.from_numpy(batches.indices(0))]).numpy()
        # Batches are shared between processes; files have the order of the dataset.
        self._order = np.argsort(ids)
        self._ids = ids[self._order]

    @property
    def is_on(self) -> bool:
        """Whether predictions are stored."""
        return self._storage.dtype is not None

    @contextmanager
    def record(
        self, model: MultiExpertModel, paths: Sequence[str], classes: Sequence[Sequence[int] | None]
    ) -> Iterator[None]:
        """While this is active, the model has to pass once over the batches; its logits are kept.

        `paths` names its outputs, `classes` has the dataset's class of each of their logits (None: all classes).
        """
        if not self.is_on:
            yield
            return
        kept: list[list[Tensor]] = [[] for _ in paths]
        positions: list[list[Tensor]] = [[] for _ in paths]

        def keep(_model: object, _inputs: object, outputs: Outputs) -> None:
            logits = [path for path in (outputs.fused, *outputs.experts) if path is not None]
            for rows, best, logits_BC in zip(kept, positions, logits, strict=True):
                rows.append(self._convert(logits_BC).cpu())
                # Rounding to float16 could make two logits equal.
                best.append(logits_BC.float().argmax(dim=-1).cpu())

        handle = model.register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
        for path, rows, best, own in zip(paths, kept, positions, classes, strict=True):
            logits_NC, best_N = self._runtime.gather(rows).numpy(), self._runtime.gather(best).numpy()
            assert len(logits_NC) == len(self._ids), f"{path}: {len(logits_NC)} rows for {len(self._ids)} images"
            class_ids = np.arange(self._num_classes) if own is None else np.array(own, dtype=np.int64)
            self._arrays[f"logits_{path}"] = logits_NC[self._order]
            self._arrays[f"predicted_{path}"] = class_ids[best_N[self._order]].astype(np.int32)
            if not np.array_equal(class_ids, np.arange(self._num_classes)):
                self._arrays[f"classes_{path}"] = class_ids

    def _convert(self, logits_BC: Tensor) -> Tensor:
        if self._storage.dtype == torch.float32:
            return logits_BC.float()
        limited_BC = logits_BC.float().clamp(-_LARGEST_FLOAT16, _LARGEST_FLOAT16)
        return torch.where(torch.isfinite(logits_BC), limited_BC, logits_BC.float()).half()

    def write(self, file: Path) -> dict[str, Any]:
        """Writes the file and returns its entry for `result.json`: sha256, dtype and shapes, or why it is absent."""
        if not self.is_on:
            return {"absent": self._storage.why}
        labels = np.asarray(self._images.labels[self._ids], dtype=np.int64)
        arrays = {"ids": self._ids, "labels": labels, "num_classes": np.int64(self._num_classes), **self._arrays}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, lambda temporary: _save(temporary, arrays))
        shapes = {name: list(array.shape) for name, array in self._arrays.items() if name.startswith("logits_")}
        return {
            "file": f"{file.parent.name}/{file.name}",
            "bytes": file.stat().st_size,
            "sha256": sha256_of(file),
            "dataset": self._dataset,
            "num_images": len(self._ids),
            "num_classes": self._num_classes,
            "dtype": str(self._storage.dtype).removeprefix("torch."),
            "paths": {name.removeprefix("logits_"): shape for name, shape in shapes.items()},
        }


def _save(file: Path, arrays: dict[str, Any]) -> None:
    # Given a name, NumPy would append its own suffix to that of the temporary file.
    with file.open("wb") as opened:
        np.savez(opened, **arrays)


class PredictionRecorder:
    """Keeps the logits of a job's models on its validation and its test images."""

    def __init__(
        self,
        spec: JobSpec,
        data: JobData,
        test: Batches,
        runtime: Runtime,
        activity: Activity,
        *,
        logits_per_image: int,
    ) -> None:
        """`logits_per_image`: the classes of all paths that will be recorded, added up."""
        dataset, requested = data.dataset, spec.evaluation.store_predictions
        self._runtime, self._activity = runtime, activity
        self._splits: dict[str, SplitRecorder] = {}
        self._absent: dict[str, dict[str, Any]] = {}
        for split, num_images in (("test", len(dataset.test)), ("val", len(data.part.val))):
            storage = storage_of(requested, logits_per_image * num_images)
            if storage.dtype is None:
                self._absent[split] = {"absent": storage.why}
                continue
            self._splits[split] = SplitRecorder(
                dataset.test if split == "test" else dataset.train,
                test if split == "test" else validation_batches(data, spec, runtime),
                storage,
                num_classes=len(dataset.class_names),
                dataset=dataset.name,
                runtime=runtime,
            )

    @contextmanager
    def record(
        self,
        model: MultiExpertModel,
        paths: Sequence[str],
        classes: Sequence[Sequence[int] | None],
        prepare: Callable[[Tensor], Tensor],
    ) -> Iterator[None]:
        """Keeps the logits of the pass over the test set that is made inside; one over the validation set follows."""
        test, validation = self._splits.get("test"), self._splits.get("val")
        with test.record(model, paths, classes) if test else nullcontext():
            yield
        if validation:
            with validation.record(model, paths, classes):
                batches = self._activity.watch("predictions", validation.batches.epoch(0))
                _pass(model, batches, prepare, self._runtime)

    def write(self, run: RunDir) -> dict[str, dict[str, Any]]:
        """Writes the files, in the first process alone; returns their entries for `result.json` by split."""
        written = {split: recorder.write(run.predictions(split)) for split, recorder in self._splits.items()}
        return self._absent | written


@torch.inference_mode()
def _pass(
    model: MultiExpertModel,
    batches: Iterable[tuple[Tensor, Tensor]],
    prepare: Callable[[Tensor], Tensor],
    runtime: Runtime,
) -> None:
    """One forward pass as `core.train.evaluate` makes it."""
    training = model.training
    model.eval()
    for images, _ in batches:
        with runtime.autocast():
            model(runtime.format(prepare(images)))
    model.train(training)
