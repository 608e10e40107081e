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
    hours: dict[str, float] = {}
    jobs: dict[str, list[str]] = {}
    for row in queries.attempts_since(session, start):
        devices = row.num_devices or requested_devices(row.resources or {})
        attempt_hours = devices * _hours(max(row.started_at, start), row.ended_at or end)
        hours[row.owner] = hours.get(row.owner, 0.0) + attempt_hours
        jobs.setdefault(row.owner, []).append(row.job_id)
    items = [
        OwnerUsage(owner=owner, device_hours=hours[owner], attempts=len(ids), jobs=len(set(ids)))
        for owner, ids in jobs.items()
    ]
    items.sort(key=lambda owner: (-owner.device_hours, owner.owner))
    total = sum(owner.device_hours for owner in items)
    return Usage(days=days, since=iso(start) or "", device_hours=total, owners=items)


def _hours(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds()) / 3600
