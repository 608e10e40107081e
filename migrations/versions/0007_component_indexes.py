"""Indexes that choose components by role, and by the name of their job, without reading their rows."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("score", "created_at"):
        op.drop_index(f"components_by_{column}", "components")
        op.create_index(f"components_by_{column}", "components", [column, "id", "job_id"])
        op.create_index(f"components_by_role_{column}", "components", ["role", column, "id"])


def downgrade() -> None:
    for column in ("score", "created_at"):
        op.drop_index(f"components_by_role_{column}", "components")
        op.drop_index(f"components_by_{column}", "components")
        op.create_index(f"components_by_{column}", "components", [column, "id"])
