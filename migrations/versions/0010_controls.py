"""The controls of fusion jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "controls",
        sa.Column("job_id", sa.String(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("role", sa.String(), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("control_job_id", sa.String(), sa.ForeignKey("jobs.id", ondelete="SET NULL"), nullable=True),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.Column("absent", sa.String(), nullable=True),
    )
    op.create_index("ix_controls_control_job_id", "controls", ["control_job_id"])


def downgrade() -> None:
    op.drop_index("ix_controls_control_job_id", "controls")
    op.drop_table("controls")
