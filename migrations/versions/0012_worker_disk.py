"""The disk space of each worker, and whether it has paused starts for lack of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import JSON

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("disk", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "disk")
