"""What monitoring reads: since when a job is in its state, how attempts ended lately, and the timings of workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import JSON

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("state_since", sa.DateTime(timezone=True), nullable=True))
    # For paused jobs and those that a worker has queued again this is too early: only their events know better.
    op.execute("UPDATE jobs SET state_since = COALESCE(finished_at, started_at, created_at)")
    op.create_index("jobs_by_executor_state", "jobs", ["executor", "state", "state_since"])
    op.drop_index("ix_attempts_ended_at", "attempts")
    op.create_index("attempts_by_ended_at", "attempts", ["ended_at", "outcome", "reason"])
    op.add_column("workers", sa.Column("timings", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "timings")
    op.drop_index("attempts_by_ended_at", "attempts")
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    op.drop_index("jobs_by_executor_state", "jobs")
    op.drop_column("jobs", "state_since")
