"""How much device time an attempt has used, by calendar month (UTC). There is no other way to count it.

An attempt uses each of its devices from its start to its end. In Slurm it starts when its first step begins: before
that it may be pending, and the ledger counts that time as waiting too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any, NamedTuple

from app.jobs.capacity import Capacity, num_devices
from app.models import Attempt

# Of this millennium.
MONTH = r"^2[0-9]{3}-(0[1-9]|1[0-2])$"


class DeviceSeconds(NamedTuple):
    """Device time in seconds, on GPUs and on CPU slots."""

    gpu: float = 0.0
    cpu: float = 0.0

    @property
    def hours(self) -> float:
        """All of it, in device-hours."""
        return (self.gpu + self.cpu) / 3600

    def plus(self, other: DeviceSeconds) -> DeviceSeconds:
        """The sum of both."""
        return DeviceSeconds(self.gpu + other.gpu, self.cpu + other.cpu)


def sum_of(times: Iterable[DeviceSeconds]) -> DeviceSeconds:
    """The sum of device times."""
    return reduce(DeviceSeconds.plus, times, DeviceSeconds())


class DeviceUse(NamedTuple):
    """What decides how much device time an attempt uses.

    `device_type` is what its process reported, `cuda` or `cpu`; null before. `resources` are those of its job.
    """

    executor: str
    devices: Sequence[str]
    resources: Mapping[str, Any]
    device_type: str | None
    started_at: datetime
    running_at: datetime | None

    def in_window(self, start: datetime, end: datetime) -> DeviceSeconds:
        """The device time between two times, of which the later one is not after the end of the attempt."""
        begin = device_start(self.executor, self.started_at, self.running_at)
        seconds = 0.0 if begin is None else seconds_in(begin, end, start)
        gpus, cpus = self._count()
        return DeviceSeconds(gpus * seconds, cpus * seconds)

    def by_month(self, end: datetime) -> dict[str, DeviceSeconds]:
        """The device time up to an end, by month."""
        begin = device_start(self.executor, self.started_at, self.running_at)
        months: dict[str, DeviceSeconds] = {}
        while begin is not None and begin < end:
            month = month_of(begin)
            month_end = bounds(month)[1]
            months[month] = self.in_window(begin, min(end, month_end))
            begin = month_end
        return months

    def _count(self) -> tuple[int, int]:
        if self.devices:
            gpus = Capacity(self.devices, 0, 0).gpus
            return gpus, len(self.devices) - gpus
        # Slurm chooses the devices: there are as many as were requested.
        number = requested_devices(self.resources)
        requested = self.resources.get("gpus")
        on_gpus = self.device_type == "cuda" if requested is None else requested > 0
        return (number, 0) if on_gpus else (0, number)


def use_of(attempt: Attempt, resources: Mapping[str, Any]) -> DeviceUse:
    """What an attempt of a job with these resources uses."""
    return DeviceUse(
        executor=attempt.executor,
        devices=attempt.devices,
        resources=resources,
        device_type=device_type_of(attempt.identity),
        started_at=attempt.started_at,
        running_at=attempt.running_at,
    )


def requested_devices(resources: Mapping[str, Any]) -> int:
    """How many devices a job uses at a time, on all of its nodes."""
    return num_devices(resources) * int(resources["nodes"])


def device_start(executor: str, started_at: datetime, running_at: datetime | None) -> datetime | None:
    """From when on an attempt uses its devices; None if it has not begun to."""
    return running_at if executor == "slurm" else started_at


def device_type_of(identity: Mapping[str, Any] | None) -> str | None:
    """The type of device that the process of an attempt reported (`Attempt.identity`)."""
    environment = (identity or {}).get("environment") or {}
    device_type = (environment.get("device") or {}).get("type")
    return None if device_type is None else str(device_type)


def seconds_in(begin: datetime, end: datetime, window_start: datetime) -> float:
    """The seconds between two times, as far as they are in a window that begins at a third."""
    return max(0.0, (end - max(begin, window_start)).total_seconds())


def month_of(time: datetime) -> str:
    """The calendar month of a time in UTC: `2026-11`."""
    return time.astimezone(UTC).strftime("%Y-%m")


def bounds(month: str) -> tuple[datetime, datetime]:
    """The first moment of a month, and that of the next one."""
    assert re.match(MONTH, month)
    year, number = map(int, month.split("-"))
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)
