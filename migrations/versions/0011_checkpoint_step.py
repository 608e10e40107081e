"""The last checkpoint of each attempt: an attempt that completed a new one made progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import BIG

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("checkpoint_step", BIG, nullable=True))


def downgrade() -> None:
    op.drop_column("attempts", "checkpoint_step")
