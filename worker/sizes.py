"""What machines have, and whether it is enough for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A few threads more than there are cores do little harm, and the default must do on any machine.
FEW_THREADS = 4


@dataclass(frozen=True)
class Size:
    """One machine: how many devices (GPUs or CPU slots) it trains on, its cores, and its memory in GiB."""

    devices: int
    cpus: int
    memory_gb: float


def devices_of(asked: Mapping[str, Any]) -> int:
    """How many devices a job takes, by its resources."""
    return max(1, asked["gpus"] or 1)


def fits(asked: Mapping[str, Any], size: Size) -> bool:
    """Whether a machine has all that a job's resources ask for."""
    threads = max(FEW_THREADS, size.cpus)
    enough_memory = (asked["memory_gb"] or 0) <= size.memory_gb
    return devices_of(asked) <= size.devices and asked["cpus"] <= threads and enough_memory


def lack(asked: Mapping[str, Any], sizes: Sequence[Size]) -> str:
    """What is missing for a job that fits on none of these machines."""
    wanted = (
        ("gpus", "GPUs", devices_of(asked), max(size.devices for size in sizes)),
        ("cpus", "threads", asked["cpus"], max(FEW_THREADS, *(size.cpus for size in sizes))),
        ("memory_gb", "GB of memory", asked["memory_gb"] or 0, max(round(size.memory_gb) for size in sizes)),
    )
    for field, what, number, most in wanted:
        if number > most:
            return f"it asks for {number} {what}, no machine here has more than {most}: change resources.{field}"
    return "no machine here has all that it asks for together: change resources.gpus, cpus or memory_gb"
