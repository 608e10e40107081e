"""What decides the result of a job besides its specification: data, software, device; and where each attempt ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import JSON

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_JOB_COLUMNS = ("data_sha256", "software_key", "device_key")


def upgrade() -> None:
    for name in _JOB_COLUMNS:
        op.add_column("jobs", sa.Column(name, sa.String(), nullable=True))
    op.add_column("attempts", sa.Column("identity", JSON, nullable=True))
    op.add_column("workers", sa.Column("device_keys", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("workers", "device_keys")
    op.drop_column("attempts", "identity")
    for name in _JOB_COLUMNS:
        op.drop_column("jobs", name)
