"""The devices of this machine that jobs are trained on."""

from __future__ import annotations

import subprocess

from app.settings import Settings


def find_devices(settings: Settings) -> list[str]:
    """GPU numbers, or CPU slots (`cpu`, `cpu:1`, ..)."""
    if settings.devices is None:
        return _gpus() or ["cpu"]
    names = [name.strip() for name in settings.devices.split(",")]
    # The same name twice is two slots.
    return list(dict.fromkeys(name if names.count(name) == 1 else f"{name}:{k}" for k, name in enumerate(names)))


def _gpus() -> list[str]:
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()]
