"""Columns, indexes and tables for the dashboard: scores, chunk means, last steps, sessions and login links."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CHUNKS_PER_BATCH = 500
_JOB_INDEXES = (
    "jobs_by_owner_state", "jobs_by_kind_state", "jobs_by_score", "jobs_by_state_score", "jobs_by_id_name_state",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("jobs", sa.Column("score", sa.Float(), nullable=True))
    op.add_column("chunks", sa.Column("mean", sa.Float(), nullable=True))
    op.add_column("chunks", sa.Column("last_time", sa.Float(), nullable=True))
    op.add_column(
        "attempts", sa.Column("last_step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True)
    )
    for column in (sa.Column("score", sa.Float()), sa.Column("arch", sa.String()), sa.Column("dataset", sa.String())):
        op.add_column("components", column)
    op.create_table("sessions", *_login_columns(), sa.Column("created_at", sa.DateTime(timezone=True), nullable=False))
    op.create_table("login_links", *_login_columns())
    for table in ("sessions", "login_links"):
        op.create_index(f"ix_{table}_token_id", table, ["token_id"])
    _fill_scores()
    _fill_means()
    op.create_index("jobs_by_id_name_state", "jobs", ["id", "name", "state"])
    op.create_index("jobs_by_state_score", "jobs", ["state", "score", "id"])
    op.create_index("jobs_by_score", "jobs", ["score", "id"])
    op.create_index("jobs_by_kind_state", "jobs", ["kind", "state", "id"])
    op.create_index("jobs_by_owner_state", "jobs", ["owner", "state", "id"])
    op.drop_index("ix_jobs_kind", "jobs")
    op.create_index("components_by_score", "components", ["score", "id"])
    op.create_index("components_by_created_at", "components", ["created_at", "id"])


def _login_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("sha256", sa.String(), primary_key=True),
        sa.Column("token_id", sa.String(), sa.ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    ]


def _fill_scores() -> None:
    op.execute(
        "UPDATE jobs SET score = (SELECT max FROM series WHERE series.job_id = jobs.id AND series.key = "
        "CASE jobs.kind WHEN 'expert' THEN 'val/accuracy_expert_0' ELSE 'val/accuracy_fused' END)"
    )
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT c.id, c.metrics, c.config, c.selected_by, j.spec FROM components c JOIN jobs j ON j.id = c.job_id"
        )
    ).all()
    values = []
    for component_id, metrics, config, selected_by, spec in rows:
        metrics, config, spec = (_parsed(value) for value in (metrics, config, spec))
        values.append(
            {
                "id": component_id,
                "score": metrics.get(selected_by),
                "arch": config.get("arch"),
                "dataset": spec.get("dataset", {}).get("name"),
            }
        )
    if values:
        connection.execute(
            sa.text("UPDATE components SET score = :score, arch = :arch, dataset = :dataset WHERE id = :id"), values
        )


def _parsed(value: Any) -> dict[str, Any]:
    """A JSON column, which SQLite gives as text and PostgreSQL as a dictionary."""
    parsed: dict[str, Any] = json.loads(value) if isinstance(value, str) else value or {}
    return parsed


def _fill_means() -> None:
    connection = op.get_bind()
    keys = connection.execute(sa.text("SELECT series_id, number FROM chunks")).all()
    read = sa.text("SELECT vals, times FROM chunk_data WHERE series_id = :series_id AND number = :number")
    write = sa.text(
        "UPDATE chunks SET mean = :mean, last_time = :last_time WHERE series_id = :series_id AND number = :number"
    )
    for start in range(0, len(keys), _CHUNKS_PER_BATCH):
        updates = []
        for series_id, number in keys[start : start + _CHUNKS_PER_BATCH]:
            row = connection.execute(read, {"series_id": series_id, "number": number}).first()
            if row is None:
                continue
            values, times = (np.frombuffer(column, dtype="<f8") for column in row)
            finite = values[np.isfinite(values)]
            mean = float(finite.mean()) if len(finite) else None
            last_time = float(times[-1]) if len(times) else None
            updates.append({"mean": mean, "last_time": last_time, "series_id": series_id, "number": number})
        if updates:
            connection.execute(write, updates)


def downgrade() -> None:
    for index in ("components_by_created_at", "components_by_score"):
        op.drop_index(index, "components")
    op.create_index("ix_jobs_kind", "jobs", ["kind"])
    for index in _JOB_INDEXES:
        op.drop_index(index, "jobs")
    op.drop_table("login_links")
    op.drop_table("sessions")
    for table, columns in (
        ("components", ("score", "arch", "dataset")),
        ("attempts", ("last_step",)),
        ("chunks", ("mean", "last_time")),
        ("jobs", ("score",)),
    ):
        with op.batch_alter_table(table) as batch_op:
            for column in columns:
                batch_op.drop_column(column)
