"""Training speed, remaining time and memory use."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from core.runtime import Runtime

PROGRESS_INTERVAL_S = 1.0
GIB = 1 << 30


class Throughput:
    """Measures images per second and the remaining time of a run of `steps` that this process starts at `start`."""

    def __init__(self, *, start: int, steps: int, batch_size: int) -> None:
        self._steps = steps
        self._batch_size = batch_size
        # (step, time) after the first step, which compiles, fills caches and opens data, and so is not typical.
        self._origin: tuple[int, float] | None = None
        self._last_measured = (start, time.monotonic())
        self._last_reported_at = 0.0
        self._images_per_s: float | None = None
        # Duration of the last checkpoint: whoever wants to stop the run in time must know it.
        self.checkpoint_s: float | None = None

    def measure(self, step: int, runtime: Runtime) -> dict[str, float]:
        """Throughput since the last call, and memory in GiB, by metric key."""
        now = time.monotonic()
        last_step, last_time = self._last_measured
        self._last_measured = (step, now)
        self._images_per_s = (step - last_step) * self._batch_size / max(now - last_time, 1e-9)
        values = {"throughput/images_per_s": self._images_per_s, "system/rss_gb": _resident_bytes() / GIB}
        if runtime.device.type == "cuda":
            values["system/gpu_mem_gb"] = torch.cuda.max_memory_allocated(runtime.device) / GIB
            if (utilization := _gpu_utilization(runtime.device)) is not None:
                values["system/gpu_util"] = utilization
        return values

    def is_due(self, step: int) -> bool:
        """Whether progress should be reported again; called after every step."""
        now = time.monotonic()
        if self._origin is None:
            self._origin = (step, now)
        if now - self._last_reported_at < PROGRESS_INTERVAL_S:
            return False
        self._last_reported_at = now
        return True

    def progress(self, step: int, steps_per_epoch: int) -> dict[str, Any]:
        """The data of a progress event; values that are not known yet are None."""
        eta_s = None
        if self._origin and step > self._origin[0]:
            origin_step, origin_time = self._origin
            eta_s = (time.monotonic() - origin_time) / (step - origin_step) * (self._steps - step)
        return {
            "epoch": step // steps_per_epoch,
            "epochs": self._steps // steps_per_epoch,
            "step": step,
            "steps": self._steps,
            "images_per_s": self._images_per_s,
            "eta_s": eta_s,
            "checkpoint_s": self.checkpoint_s,
        }


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gpu_utilization(device: torch.device) -> float | None:
    """In percent; None where the driver's library is not available."""
    try:
        return float(torch.cuda.utilization(device))
    except (RuntimeError, ModuleNotFoundError, OSError):
        return None
