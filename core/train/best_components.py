"""Keeps the best of every component on disk: each expert's own best epoch, and the best fused epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.components import link_component, read_component_manifest, save_component
from core.run.durable import DamagedFileError

GLOBAL = ("fusion", "head", "complete")


class BestComponents:
    """Saves a component when its accuracy is better than that of the one on disk, or as good with a smaller loss.

    What is on disk is the only memory, so files and record cannot disagree after a crash. `fusion`, `head` and
    `complete` belong to one epoch: where they do not (a crash came between their files) the worst of them is what
    must be beaten.
    """

    def __init__(
        self, folder: Path, configs: Mapping[str, dict[str, Any]], on_save: Callable[[dict[str, Any]], object]
    ) -> None:
        self._folder = folder
        self._configs = configs
        self._on_save = on_save

    def offers(
        self, state: Mapping[str, Tensor], metrics: Mapping[str, float], *, epoch: int, step: int
    ) -> list[Callable[[], None]]:
        """The writes that an evaluated epoch calls for; `state` is a snapshot of the whole model on the CPU.

        `metrics` has `accuracy_expert_<k>` and, for a dual-path model, `accuracy_fused`.
        """
        writes: list[Callable[[], None]] = []
        for names, key in self._groups():
            if _rank(metrics, key) > min(self._recorded(name) for name in names):
                writes += [self._write(name, state, metrics, key, epoch, step) for name in names]
        return writes

    def relink(self) -> None:
        """After a crash: gives files their well-known names again where a crash came in between."""
        for name in self._configs:
            try:
                manifest = read_component_manifest(self._folder, name)
            except DamagedFileError:
                continue
            if manifest:
                link_component(self._folder, manifest)

    def _groups(self) -> list[tuple[tuple[str, ...], str]]:
        groups = [((name,), f"accuracy_{name}") for name in self._configs if name not in GLOBAL]
        return groups + ([(GLOBAL, "accuracy_fused")] if "complete" in self._configs else [])

    def _recorded(self, name: str) -> tuple[float, float]:
        try:
            manifest = read_component_manifest(self._folder, name)
        except DamagedFileError:
            manifest = None
        return _rank(manifest["metrics"], manifest["selected_by"]) if manifest else (-1.0, 0.0)

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
                    self._folder, name, part, config, epoch=epoch, step=step, metrics=metrics, selected_by=key
                )
            )

        return write


def _rank(metrics: Mapping[str, float], key: str) -> tuple[float, float]:
    """What makes one epoch better than another: few validation images give many equal accuracies."""
    return metrics[key], -metrics.get(key.replace("accuracy_", "loss_"), 0.0)
