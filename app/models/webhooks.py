"""Webhook deliveries that have yet to arrive."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.models.columns import BIG


class WebhookDelivery(SQLModel, table=True):
    """A state event to be sent to an address; deleted once it has been delivered. All times are the database's clock.

    It belongs to no job by a foreign key: the end of a job is announced even if somebody deletes the job at once.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("delivery_id", "address", name="uq_webhook_deliveries_delivery_id_address"),
        Index("webhook_deliveries_by_address", "address", "given_up_at", "next_at"),
    )
    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True, autoincrement=True))
    # Job and event: SQLite assigns the ids of deleted events again.
    delivery_id: str
    address: str
    # As text, so that every attempt sends the same bytes.
    body: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime
    # The number of the latest attempt. A worker whose lease has run out does not overwrite what a later one found.
    attempts: int = 0
    # Not to be sent before: the end of a worker's lease while it sends, afterwards the time of the next attempt.
    next_at: datetime
    given_up_at: datetime | None = None
