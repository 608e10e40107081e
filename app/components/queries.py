"""The SQL of components."""

from __future__ import annotations

from sqlmodel import Session, col, select

from app.models import Component


def list_components(session: Session, job_id: str) -> list[Component]:
    """The components that a job has saved so far, by name."""
    return list(session.exec(select(Component).where(Component.job_id == job_id).order_by(col(Component.name))))
