"""Tokens know the token that created them, with which they are deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tokens") as batch_op:
        batch_op.add_column(sa.Column("parent_id", sa.String(), nullable=True))
        batch_op.create_foreign_key("fk_tokens_parent_id", "tokens", ["parent_id"], ["id"], ondelete="CASCADE")
        batch_op.create_index("ix_tokens_parent_id", ["parent_id"])


def downgrade() -> None:
    with op.batch_alter_table("tokens") as batch_op:
        batch_op.drop_index("ix_tokens_parent_id")
        batch_op.drop_constraint("fk_tokens_parent_id", type_="foreignkey")
        batch_op.drop_column("parent_id")
