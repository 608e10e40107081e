"""Indexes of lists of jobs: one for the priority, and in each the sweep, to leave its runs out without their rows."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEXES = {
    "jobs_by_state": ["state", "priority", "id"],
    "jobs_by_id_name_state": ["id", "name", "state"],
    "jobs_by_state_score": ["state", "score", "id"],
    "jobs_by_score": ["score", "id"],
    "jobs_by_kind_state": ["kind", "state", "id"],
    "jobs_by_owner_state": ["owner", "state", "id"],
}


def upgrade() -> None:
    _replace("sweep")
    op.drop_index("ix_jobs_priority", "jobs")
    op.create_index("jobs_by_priority", "jobs", ["priority", "id", "sweep"])


def downgrade() -> None:
    op.drop_index("jobs_by_priority", "jobs")
    op.create_index("ix_jobs_priority", "jobs", ["priority"])
    _replace()


def _replace(*last: str) -> None:
    for name, columns in _INDEXES.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", [*columns, *last])
