"""Which users are at a limit of their quota, and what that keeps them from. A running job is never stopped by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from app.db import now, try_lock_name
from app.http.errors import QuotaExceeded
from app.jobs import usage_queries
from app.jobs.device_time import DeviceSeconds, bounds, month_of
from app.jobs.quota_queries import list_quotas, max_bytes
from app.jobs.wording import count, format_bytes
from app.models import Quota

# The owner of the quota that holds for everyone without one of their own.
EVERYONE = "*"


@dataclass(frozen=True)
class StartLimit:
    """What an owner's quota says about starting jobs, and what it is compared with at a time."""

    quota: Quota
    owner: str
    running: int
    device_hours: float
    at: datetime

    @property
    def room(self) -> int | None:
        """How many more jobs of the owner may start now; None without a limit."""
        if self.is_out_of_hours:
            return 0
        return None if self.quota.max_running is None else max(0, self.quota.max_running - self.running)

    @property
    def is_out_of_hours(self) -> bool:
        """Whether the device-hours of the month have been used."""
        limit = self.quota.device_hours_per_month
        return limit is not None and self.device_hours >= limit

    def sentence(self) -> str:
        """Why no job of the owner starts, and when one will."""
        limit = self.quota.device_hours_per_month
        if limit == 0:
            return f"The quota of its owner {self.owner} is 0 device-hours: it starts when an admin raises it."
        if limit is not None and self.is_out_of_hours:
            month, following = bounds(month_of(self.at))
            used = (
                f"{self.device_hours:,.1f} device-hours" if self.device_hours >= 0.1 else "less than 0.1 device-hours"
            )
            return (
                f"Its owner {self.owner} has used {used} in {month:%B %Y}, and the "
                f"quota is {limit:,g} a month: it starts on 1 {following:%B} (UTC), or when an admin raises it."
            )
        if not self.quota.max_running:
            return f"The quota of its owner {self.owner} is 0 running jobs: it starts when an admin raises it."
        return (
            f"Its owner {self.owner} has {count(self.running, 'job')} running, and the quota is "
            f"{self.quota.max_running:,}: it starts when one of them ends."
        )


@dataclass(frozen=True)
class StartLimits:
    """The quotas that limit starts at a time. `known` has the owners with jobs running, device time or a quota."""

    quotas: dict[str, Quota]
    known: dict[str, StartLimit]
    at: datetime

    def of(self, owner: str) -> StartLimit | None:
        """What limits the starts of an owner; None if nothing does."""
        quota = quota_of(self.quotas, owner)
        if quota is None or not _limits_starts(quota):
            return None
        return self.known.get(owner) or StartLimit(quota, owner, 0, 0.0, self.at)

    @property
    def at_limit(self) -> list[str]:
        """The known owners of whom no job may start."""
        return sorted(owner for owner, limit in self.known.items() if limit.room == 0)

    @property
    def only(self) -> list[str] | None:
        """The only owners of whom jobs may start; None unless the quota of everyone else permits none at all."""
        default = self.of(EVERYONE)
        if default is None or default.room != 0:
            return None
        allowed = {*self.quotas, *self.known} - {EVERYONE, *self.at_limit}
        return sorted(owner for owner in allowed if (limit := self.of(owner)) is None or limit.room != 0)


def quota_of(quotas: dict[str, Quota], owner: str) -> Quota | None:
    """The quota that holds for an owner, among all quotas by owner."""
    return quotas.get(owner) or quotas.get(EVERYONE)


def start_limits(session: Session) -> StartLimits:
    """What quotas say about starts now."""
    at, quotas = now(), {quota.owner: quota for quota in list_quotas(session)}
    limiting = [quota for quota in quotas.values() if _limits_starts(quota)]
    if not limiting:
        return StartLimits(quotas, {}, at)
    running = usage_queries.count_running(session)
    needs_hours = any(quota.device_hours_per_month is not None for quota in limiting)
    used = device_time_in_month(session, month_of(at), at) if needs_hours else {}
    known = {}
    for owner in {*running, *used, *quotas} - {EVERYONE}:
        quota = quota_of(quotas, owner)
        if quota is not None and _limits_starts(quota):
            hours = used.get(owner, DeviceSeconds()).hours
            known[owner] = StartLimit(quota, owner, running.get(owner, 0), hours, at)
    return StartLimits(quotas, known, at)


def _limits_starts(quota: Quota) -> bool:
    return quota.max_running is not None or quota.device_hours_per_month is not None


def lock_to_start(session: Session, owner: str) -> bool:
    """Whether this worker may start a job of an owner until the commit; owners without a limit need no lock.

    It never waits: False if another worker is starting a job of the owner, or if none may start.
    """
    if start_limits(session).of(owner) is None:
        return True
    if not try_lock_name(session, f"quota of {owner}"):
        return False
    # Counted again: another worker may have started one just before.
    return room_to_start(session, owner) != 0


def room_to_start(session: Session, owner: str) -> int | None:
    """How many jobs of an owner may start now; None without a limit."""
    limit = start_limits(session).of(owner)
    return None if limit is None else limit.room


def device_time_in_month(session: Session, month: str, at: datetime) -> dict[str, DeviceSeconds]:
    """By owner, the device time used in a month up to a time, which is not in the past."""
    start, end = bounds(month)
    used = usage_queries.device_time(session, month)
    for owner, use in usage_queries.running_attempts(session):
        used[owner] = used.get(owner, DeviceSeconds()).plus(use.in_window(start, min(at, end)))
    return used


def require_space(session: Session, owner: str) -> None:
    """Raises QuotaExceeded if an owner stores as much as the quota allows."""
    limit = max_bytes(session, owner)
    if limit is None:
        return
    used = usage_queries.stored_bytes(session, owner).get(owner, 0)
    if used >= limit:
        raise QuotaExceeded(
            f"the jobs of {owner} store {format_bytes(used)}, and the quota is {format_bytes(limit)}: "
            + ("delete jobs that have ended (`mcn delete ID`, `DELETE /jobs/ID`), or " if limit else "")
            + "ask an admin to raise the quota"
        )
