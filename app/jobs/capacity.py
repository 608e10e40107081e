"""What machines have, and whether it is enough for a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A few threads more than there are cores do little harm, and the default number must work on any machine.
MIN_THREADS = 4


@dataclass(frozen=True)
class Capacity:
    """One machine: the devices that it trains on (GPU numbers or CPU slots), its cores, and its memory in GiB."""

    devices: Sequence[str]
    cpus: int
    memory_gib: float

    @property
    def gpus(self) -> int:
        """How many of its devices are GPUs."""
        return sum(not device.startswith("cpu") for device in self.devices)

    @property
    def threads(self) -> int:
        """The most threads that a job may use here."""
        return max(MIN_THREADS, self.cpus)

    def fits(self, resources: Mapping[str, Any]) -> bool:
        """Whether this machine has everything that a job's resources request."""
        enough_memory = (resources["memory_gb"] or 0) <= self.memory_gib
        return (resources["gpus"] or 0) <= self.gpus and resources["cpus"] <= self.threads and enough_memory


def num_devices(resources: Mapping[str, Any]) -> int:
    """How many devices a job leases: as many as the GPUs it requests, else one, which may be a CPU slot."""
    return max(1, resources["gpus"] or 0)


def shortfall(resources: Mapping[str, Any], machines: Sequence[Capacity]) -> str:
    """Why a job fits on none of these machines, and what to change."""
    gpus = resources["gpus"] or 0
    limits = (
        ("gpus", "GPU" if gpus == 1 else "GPUs", gpus, max(machine.gpus for machine in machines)),
        ("cpus", "threads", resources["cpus"], max(machine.threads for machine in machines)),
        (
            "memory_gb",
            "GiB of memory",
            resources["memory_gb"] or 0,
            int(max(machine.memory_gib for machine in machines)),
        ),
    )
    for field, unit, requested, available in limits:
        if requested > available:
            most = f"at most {available}" if available else "none"
            return (
                f"the job requests {requested} {unit}, but the machines of this service have {most}: "
                f"change resources.{field}, then retry"
            )
    return (
        "no machine of this service has everything that the job requests together: "
        "change resources.gpus, cpus or memory_gb, then retry"
    )
