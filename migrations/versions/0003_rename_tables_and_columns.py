"""Clearer names for dependencies, chunk data, Slurm job names and the unique constraints."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_CONSTRAINTS = (
    ("jobs", "one_job_a_key", "uq_jobs_owner_idempotency_key", ["owner", "idempotency_key"]),
    ("sweeps", "one_sweep_a_key", "uq_sweeps_owner_idempotency_key", ["owner", "idempotency_key"]),
    ("series", "one_series_a_key", "uq_series_job_id_key", ["job_id", "key"]),
    ("components", "one_component_a_name", "uq_components_job_id_name", ["job_id", "name"]),
)


def upgrade() -> None:
    op.drop_index("ix_needs_needs", table_name="needs")
    op.rename_table("needs", "dependencies")
    op.alter_column("dependencies", "needs", new_column_name="depends_on")
    op.create_index("ix_dependencies_depends_on", "dependencies", ["depends_on"])
    op.rename_table("points", "chunk_data")
    op.drop_index("ix_attempts_stamp", table_name="attempts")
    op.alter_column("attempts", "stamp", new_column_name="slurm_job_name")
    op.create_index("ix_attempts_slurm_job_name", "attempts", ["slurm_job_name"])
    for table, old, new, columns in _CONSTRAINTS:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_constraint(old, type_="unique")
            batch_op.create_unique_constraint(new, columns)


def downgrade() -> None:
    for table, old, new, columns in _CONSTRAINTS:
        with op.batch_alter_table(table) as batch_op:
            batch_op.drop_constraint(new, type_="unique")
            batch_op.create_unique_constraint(old, columns)
    op.drop_index("ix_attempts_slurm_job_name", table_name="attempts")
    op.alter_column("attempts", "slurm_job_name", new_column_name="stamp")
    op.create_index("ix_attempts_stamp", "attempts", ["stamp"])
    op.rename_table("chunk_data", "points")
    op.drop_index("ix_dependencies_depends_on", table_name="dependencies")
    op.alter_column("dependencies", "depends_on", new_column_name="needs")
    op.rename_table("dependencies", "needs")
    op.create_index("ix_needs_needs", "needs", ["needs"])
