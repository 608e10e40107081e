"""Webhook deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.models.columns import BIG

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", BIG, primary_key=True, autoincrement=True),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.UniqueConstraint("delivery_id", "address", name="uq_webhook_deliveries_delivery_id_address"),
    )
    columns = ["address", "given_up_at", "next_at"]
    op.create_index("webhook_deliveries_by_address", "webhook_deliveries", columns)


def downgrade() -> None:
    op.drop_index("webhook_deliveries_by_address", "webhook_deliveries")
    op.drop_table("webhook_deliveries")
