"""Alerts that training raised: each is stored once for its job, however often it is done again after a resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from app.models import Event

ALERT = "alert"
# Training raises a handful; beyond this many of one job, something is wrong with the alerts.
MAX_ALERTS = 50
_SHOWN = ("level", "code", "title", "message", "subject", "step", "key")


class NewAlerts:
    """Tells alerts of a job that are new from those that it has, in a transaction that holds the lock of the job."""

    def __init__(self, session: Session, job_id: str) -> None:
        self._session, self._job_id = session, job_id
        self._known: set[str] | None = None

    def admit(self, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """What to store of an alert; None for one that the job has already, or if it has too many."""
        if self._known is None:
            self._known = {alert["key"] for alert in _alerts(self._session, self._job_id, MAX_ALERTS)}
        key = str(data["key"])
        if key in self._known or len(self._known) >= MAX_ALERTS:
            return None
        self._known.add(key)
        return {name: data.get(name) for name in _SHOWN}


def latest_alerts(session: Session, job_id: str, limit: int) -> list[dict[str, Any]]:
    """The newest alerts of a job, oldest first."""
    return _alerts(session, job_id, limit)[::-1]


def _alerts(session: Session, job_id: str, limit: int) -> list[dict[str, Any]]:
    statement = select(Event).where(Event.job_id == job_id, Event.type == ALERT)
    return [event.data for event in session.exec(statement.order_by(col(Event.id).desc()).limit(limit))]
