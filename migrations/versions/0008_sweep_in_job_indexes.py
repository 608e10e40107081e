"""The sweep in the indexes of lists of jobs, so that lists without the runs of sweeps read no rows."""

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


def downgrade() -> None:
    _replace()


def _replace(*last: str) -> None:
    for name, columns in _INDEXES.items():
        op.drop_index(name, "jobs")
        op.create_index(name, "jobs", [*columns, *last])
