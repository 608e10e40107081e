"""Device-hours by owner."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session

from app.cluster import queries
from app.cluster.schemas import OwnerUsage, Usage
from app.db import iso, now
from app.jobs.ledger import requested_devices


def usage(session: Session, days: int) -> Usage:
    """The device-hours of attempts in the last `days` days, the largest share first; running ones count up to now."""
    end = now()
    start = end - timedelta(days=days)
    by_owner: dict[str, OwnerUsage] = {}
    jobs: dict[str, set[str]] = {}
    for row in queries.attempts_since(session, start):
        owner = by_owner.setdefault(row.owner, OwnerUsage(owner=row.owner, device_hours=0.0, attempts=0, jobs=0))
        devices = len(row.devices) or requested_devices(row.resources)
        owner.device_hours += devices * _hours(max(row.started_at, start), row.ended_at or end)
        owner.attempts += 1
        jobs.setdefault(row.owner, set()).add(row.job_id)
    for name, owner in by_owner.items():
        owner.jobs = len(jobs[name])
    items = sorted(by_owner.values(), key=lambda owner: (-owner.device_hours, owner.owner))
    total = sum(owner.device_hours for owner in items)
    return Usage(days=days, since=iso(start) or "", device_hours=total, owners=items)


def _hours(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds()) / 3600
