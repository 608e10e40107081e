"""Retention: the policy, its runs, files that are still to be removed, and jobs whose checkpoints were deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import BIG, JSON

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "retention_runs",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_by", sa.String(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("checkpoints", sa.Integer(), nullable=False),
        sa.Column("bytes_freed", BIG, nullable=False),
    )
    op.create_table("file_deletions", sa.Column("job_id", sa.String(), primary_key=True))
    op.add_column("jobs", sa.Column("checkpoints_deleted_after", sa.Integer(), nullable=True))
    op.create_index("jobs_by_finished_at", "jobs", ["finished_at", "state"])


def downgrade() -> None:
    op.drop_index("jobs_by_finished_at", "jobs")
    op.drop_column("jobs", "checkpoints_deleted_after")
    op.drop_table("file_deletions")
    op.drop_table("retention_runs")
    op.drop_table("retention")
