"""What machines have, and whether it is enough for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A few threads more than there are cores do little harm, and the default must do on any machine.
FEW_THREADS = 4


@dataclass(frozen=True)
class Size:
    """One machine: the devices that it trains on (numbers of GPUs, or CPU slots), its cores, and its memory in GiB."""

    devices: Sequence[str]
    cpus: int
    memory_gb: float

    @property
    def gpus(self) -> int:
        """How many of its devices are GPUs."""
        return sum(not device.startswith("cpu") for device in self.devices)


def devices_of(asked: Mapping[str, Any]) -> int:
    """How many devices a job takes, by its resources: one, a CPU slot if need be, unless it asks for GPUs."""
    return max(1, asked["gpus"] or 0)


def fits(asked: Mapping[str, Any], size: Size) -> bool:
    """Whether a machine has all that a job's resources ask for."""
    threads = max(FEW_THREADS, size.cpus)
    enough_memory = (asked["memory_gb"] or 0) <= size.memory_gb
    return (asked["gpus"] or 0) <= size.gpus and asked["cpus"] <= threads and enough_memory


def shortfall(asked: Mapping[str, Any], sizes: Sequence[Size]) -> str:
    """What is missing for a job that fits on none of these machines."""
    gpus = asked["gpus"] or 0
    wanted = (
        ("gpus", "GPU" if gpus == 1 else "GPUs", gpus, max(size.gpus for size in sizes)),
        ("cpus", "threads", asked["cpus"], max(FEW_THREADS, *(size.cpus for size in sizes))),
        ("memory_gb", "GB of memory", asked["memory_gb"] or 0, max(round(size.memory_gb) for size in sizes)),
    )
    for field, what, number, most in wanted:
        if number > most:
            has = f"more than {most}" if most else "any"
            return f"it asks for {number} {what}, no machine here has {has}: change resources.{field}, then retry"
    return "no machine here has all that it asks for together: change resources.gpus, cpus or memory_gb, then retry"
