"""Sweeps get `points_per_task`; a point's `given` becomes `point_values`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("points_per_task", sa.Integer(), nullable=False, server_default="1"))
    op.alter_column("sweep_points", "given", new_column_name="point_values")


def downgrade() -> None:
    op.alter_column("sweep_points", "point_values", new_column_name="given")
    with op.batch_alter_table("sweeps") as batch_op:
        batch_op.drop_column("points_per_task")
