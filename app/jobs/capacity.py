"""What machines have, and whether it is enough for a job."""

from __future__ import annotations

import re
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
        return not self.allowed(resources)

    def allowed(self, resources: Mapping[str, Any]) -> dict[str, int]:
        """The requested resources that do not fit on this machine, each with the most that does."""
        most = {"gpus": self.gpus, "cpus": self.threads, "memory_gb": self.memory_gib}
        return {field: int(value) for field, value in most.items() if (resources[field] or 0) > value}


def num_devices(resources: Mapping[str, Any]) -> int:
    """How many devices a job leases: as many as the GPUs it requests, else one, which may be a CPU slot."""
    return max(1, resources["gpus"] or 0)


def change_to_fit(resources: Mapping[str, Any], machines: Sequence[Capacity]) -> dict[str, int]:
    """The fewest resources to change, with their new values, for a job to fit on one of these machines."""
    return min((machine.allowed(resources) for machine in machines), key=len, default={})


def shortfall(resources: Mapping[str, Any], machines: Sequence[Capacity]) -> str:
    """Why a job fits on none of these machines, and what to change."""
    largest = Capacity(
        max((machine.devices for machine in machines), key=lambda devices: Capacity(devices, 0, 0).gpus),
        max(machine.cpus for machine in machines),
        max(machine.memory_gib for machine in machines),
    )
    problems: list[str] = []
    fields: list[str] = []
    for field, available in largest.allowed(resources).items():
        job, machine = ("it", "they") if problems else ("the job", "the machines of this service")
        most = f"at most {available}" if available else "none"
        problems.append(f"{job} requests {with_unit(field, resources[field])}, but {machine} have {most}")
        fields.append(f"resources.{field}")
    if not problems:
        return (
            "no machine of this service has everything that the job requests together: "
            "change resources.gpus, cpus or memory_gb, then retry"
        )
    return f"{'; '.join(problems)}: change {', '.join(fields)}, then retry"


def is_shortfall(message: str) -> bool:
    """Whether a message is one of `shortfall`: the job has not been started."""
    return bool(
        re.match(r"the job requests .* machines of this service have |no machine of this service has ", message)
    )


def with_unit(field: str, value: int) -> str:
    """A requested resource in words: `1 GPU`, `4 threads`, `8 GiB of memory`."""
    units = {"gpus": "GPU" if value == 1 else "GPUs", "cpus": "thread" if value == 1 else "threads"}
    return f"{value} {units.get(field, 'GiB of memory')}"
