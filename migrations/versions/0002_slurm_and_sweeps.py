"""Slurm columns, sweeps and job digests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("base", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("grid", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("max_parallel", sa.Integer(), nullable=True),
        sa.Column("early_stopping", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("body_sha256", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("owner", "idempotency_key", name="one_sweep_a_key"),
    )
    op.create_table(
        "sweep_points",
        sa.Column("sweep_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("given", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sweep_id", "number"),
    )
    with op.batch_alter_table("sweep_points", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sweep_points_job_id"), ["job_id"], unique=False)

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stamp", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("array_index", sa.Integer(), nullable=True))
        batch_op.create_index(batch_op.f("ix_attempts_stamp"), ["stamp"], unique=False)

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("digest", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("executor", sa.String(), nullable=False, server_default="local"))
        batch_op.create_index(batch_op.f("ix_jobs_digest"), ["digest"], unique=False)

    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("slurm", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("cpus", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("memory_gb", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("memory_gb")
        batch_op.drop_column("cpus")
        batch_op.drop_column("slurm")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_digest"))
        batch_op.drop_column("executor")
        batch_op.drop_column("digest")

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_stamp"))
        batch_op.drop_column("array_index")
        batch_op.drop_column("stamp")

    with op.batch_alter_table("sweep_points", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sweep_points_job_id"))

    op.drop_table("sweep_points")
    op.drop_table("sweeps")
