"""How fast a run goes and when it will be done."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from core.runtime import Runtime

_REPORT_S = 1.0
_GB = 1e9


class Throughput:
    """Measures images a second and the time left. `start` is the step at which this process began, of `steps`."""

    def __init__(self, *, start: int, steps: int, batch_size: int) -> None:
        self._steps = steps
        self._batch_size = batch_size
        # The first step compiles, fills caches and opens data: it says nothing about the others.
        self._origin: tuple[int, float] | None = None
        self._start = start
        self._measured_at = (start, time.monotonic())
        self._reported_at = 0.0
        self._images_per_s: float | None = None
        # How long the last checkpoint took to write: who wants to stop the run in time has to know.
        self.checkpoint_s: float | None = None

    def measured(self, step: int, runtime: Runtime) -> dict[str, float]:
        """Throughput since the last call, and what the process and the device use."""
        now = time.monotonic()
        before, at = self._measured_at
        self._measured_at = (step, now)
        self._images_per_s = (step - before) * self._batch_size / max(now - at, 1e-9)
        values = {"throughput/images_per_s": self._images_per_s, "system/rss_gb": _rss_bytes() / _GB}
        if runtime.device.type == "cuda":
            values["system/gpu_mem_gb"] = torch.cuda.max_memory_allocated(runtime.device) / _GB
            if (used := _gpu_utilization(runtime.device)) is not None:
                values["system/gpu_util"] = used
        return values

    def due(self, step: int) -> bool:
        """Whether it is time to report progress again."""
        now = time.monotonic()
        if self._origin is None:
            self._origin = (step, now)
        if now - self._reported_at < _REPORT_S:
            return False
        self._reported_at = now
        return True

    def progress(self, step: int, per_epoch: int) -> dict[str, Any]:
        """The data of a progress event; what cannot be known yet is None."""
        eta_s = None
        if self._origin and step > self._origin[0]:
            done, at = self._origin
            eta_s = (time.monotonic() - at) / (step - done) * (self._steps - step)
        return {
            "epoch": step // per_epoch,
            "epochs": self._steps // per_epoch,
            "step": step,
            "steps": self._steps,
            "images_per_s": self._images_per_s,
            "eta_s": eta_s,
            "checkpoint_s": self.checkpoint_s,
        }


def _rss_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu_utilization(device: torch.device) -> float | None:
    """In percent; None where the driver's library cannot be asked."""
    try:
        return float(torch.cuda.utilization(device))
    except (RuntimeError, ModuleNotFoundError, OSError):
        return None
