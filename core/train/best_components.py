"""Keeps the best of every component on disk: each expert's own best epoch, and the best fused epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.components import link_component, read_component_manifest, save_component
from core.run.durable import DamagedFileError

# Saved together, from the best fused epoch.
FUSED_COMPONENTS = ("fusion", "head", "complete")
_WORST = (-math.inf, -math.inf)


class BestComponents:
    """Saves a component if its accuracy is higher than that of the saved one, or equal with a smaller loss.

    The only memory is on disk, so that files and record agree after a crash. `fusion`, `head` and `complete` are from
    one epoch; if a crash interrupted writing them, the worst of the three has to be beaten.
    """

    def __init__(
        self,
        folder: Path,
        configs: Mapping[str, dict[str, Any]],
        on_save: Callable[[dict[str, Any]], object],
        *,
        identity: str = "",
    ) -> None:
        self._folder = folder
        self._configs = configs
        self._on_save = on_save
        self._identity = identity

    def updates(
        self, state: Mapping[str, Tensor], metrics: Mapping[str, float], *, epoch: int, step: int
    ) -> list[Callable[[], None]]:
        """The writes for an evaluated epoch; `state` is a snapshot of the whole model on the CPU.

        `metrics` has `accuracy_expert_<k>` and, for a dual-path model, `accuracy_fused`. A component whose accuracy is
        absent or not finite is not saved.
        """
        writes: list[Callable[[], None]] = []
        for names, key in self._selection_keys():
            if _rank(metrics, key) > min(self._saved_rank(name) for name in names):
                writes += [self._write(name, state, metrics, key, epoch, step) for name in names]
        return writes

    def restore(self) -> None:
        """Makes up for what a crash kept from being done after a component was written.

        Restores the well-known names of its files, and reports it again: nobody may have heard of it, and it is saved
        again only if it is surpassed.
        """
        for name in self._configs:
            try:
                manifest = read_component_manifest(self._folder, name)
            except DamagedFileError:
                continue
            if manifest:
                link_component(self._folder, manifest)
                self._on_save(manifest)

    def _selection_keys(self) -> list[tuple[tuple[str, ...], str]]:
        """Components that are saved together, and the metric that selects their epoch."""
        keys = [((name,), f"accuracy_{name}") for name in self._configs if name not in FUSED_COMPONENTS]
        return keys + ([(FUSED_COMPONENTS, "accuracy_fused")] if "complete" in self._configs else [])

    def _saved_rank(self, name: str) -> tuple[float, float]:
        try:
            manifest = read_component_manifest(self._folder, name)
        except DamagedFileError:
            manifest = None
        return _rank(manifest["metrics"], manifest["selected_by"]) if manifest else _WORST

    def _write(
        self, name: str, state: Mapping[str, Tensor], metrics: Mapping[str, float], key: str, epoch: int, step: int
    ) -> Callable[[], None]:
        prefix = {"complete": ""}.get(name, f"{name}.")
        if name.startswith("expert_"):
            prefix = f"experts.{name.removeprefix('expert_')}."
        part = {path.removeprefix(prefix): value for path, value in state.items() if path.startswith(prefix)}
        config = self._configs[name]

        def write() -> None:
            self._on_save(
                save_component(
                    self._folder,
                    name,
                    part,
                    config,
                    epoch=epoch,
                    step=step,
                    metrics=metrics,
                    selected_by=key,
                    identity=self._identity,
                )
            )

        return write


def _rank(metrics: Mapping[str, float], key: str) -> tuple[float, float]:
    """Accuracy, then negative loss: few validation images give many equal accuracies. Not finite ranks last."""
    accuracy = metrics.get(key, math.nan)
    loss = metrics.get(key.replace("accuracy_", "loss_"), 0.0)
    if not math.isfinite(accuracy):
        return _WORST
    return accuracy, -loss if math.isfinite(loss) else -math.inf
