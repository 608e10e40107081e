"""Quotas; what they are compared with: device time by owner and month, and the size of each job's run directory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlmodel import Session
from sqlmodel.sql.sqltypes import UTCDateTime

from app.jobs.device_time import DeviceSeconds, use_of
from app.models.columns import BIG, JSON

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("device_hours_per_month", sa.Float(), nullable=True),
        sa.Column("max_bytes", BIG, nullable=True),
    )
    op.create_table(
        "device_time",
        sa.Column("month", sa.String(), primary_key=True),
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("gpu_s", sa.Float(), nullable=False),
        sa.Column("cpu_s", sa.Float(), nullable=False),
    )
    op.add_column("jobs", sa.Column("size_bytes", BIG, nullable=True))
    op.create_index("jobs_by_owner_size", "jobs", ["owner", "size_bytes"])
    op.add_column("attempts", sa.Column("running_at", sa.DateTime(timezone=True), nullable=True))
    _find_first_steps()
    _add_up_device_time()


def _find_first_steps() -> None:
    """Sets `running_at` of attempts in Slurm, which may have been pending before, from the events of their jobs."""
    state = "data ->> 'state'" if op.get_bind().dialect.name == "postgresql" else "json_extract(data, '$.state')"
    op.execute(
        "UPDATE attempts SET running_at = (SELECT min(events.time) FROM events WHERE events.job_id = attempts.job_id "
        f"AND events.type = 'state' AND {state} = 'running' AND events.time >= attempts.started_at "
        "AND (attempts.ended_at IS NULL OR events.time <= attempts.ended_at)) WHERE executor = 'slurm'"
    )


_jobs = sa.table("jobs", sa.column("id"), sa.column("owner"), sa.column("spec", JSON))
# With SQLite, times are stored without a zone.
_time = UTCDateTime()
_attempts = sa.table(
    "attempts",
    *(sa.column(name) for name in ("job_id", "executor")),
    *(sa.column(name, JSON) for name in ("devices", "identity")),
    *(sa.column(name, _time) for name in ("started_at", "running_at", "ended_at")),
)


def _add_up_device_time() -> None:
    """Adds the device time of the attempts that have ended."""
    totals: dict[tuple[str, str], DeviceSeconds] = {}
    columns = (_jobs.c.owner, _jobs.c.spec["resources"].label("resources"), *_attempts.c)
    query = sa.select(*columns).join_from(_attempts, _jobs, _attempts.c.job_id == _jobs.c.id)
    session = Session(op.get_bind())
    for row in session.execute(query.where(_attempts.c.ended_at.is_not(None)).execution_options(yield_per=1000)):
        for month, used in use_of(row, row.resources or {}).by_month(row.ended_at).items():  # type: ignore[arg-type]
            key = (month, row.owner)
            totals[key] = totals.get(key, DeviceSeconds()).plus(used)
    rows = [
        {"month": month, "owner": owner, "gpu_s": used.gpu, "cpu_s": used.cpu}
        for (month, owner), used in totals.items()
    ]
    if rows:
        table = sa.table("device_time", *(sa.column(name) for name in ("month", "owner", "gpu_s", "cpu_s")))
        op.bulk_insert(table, rows)


def downgrade() -> None:
    op.drop_column("attempts", "running_at")
    op.drop_index("jobs_by_owner_size", "jobs")
    op.drop_column("jobs", "size_bytes")
    op.drop_table("device_time")
    op.drop_table("quotas")
