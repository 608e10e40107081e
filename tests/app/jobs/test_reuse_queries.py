"""What decides whether a job may be reused, read on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from app.db import reading, transaction
from app.jobs.reuse_queries import jobs_with_digests, slurm_options_of_device
from app.models import Job, State


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"evaluation": {"store_predictions": True}}, True),
        ({"evaluation": {"store_predictions": False}}, False),
        ({"evaluation": {"store_predictions": "auto"}}, "auto"),
        ({}, None),
    ],
)
def test_how_predictions_are_stored_is_read_from_the_specification(
    database: Engine, spec: dict[str, Any], expected: Any
) -> None:
    with transaction(database) as session:
        session.add(
            Job(id="job_1", kind="expert", name="", state=State.queued, owner="a", digest="d", spec=spec, defaulted=[])
        )
    with reading(database) as session:
        [row] = jobs_with_digests(session, ["d"])
    assert row[-1] == expected


def test_the_nodes_that_have_a_device_are_those_of_its_jobs(database: Engine) -> None:
    slurm = {"partition": "new", "gres": None}
    with transaction(database) as session:
        for number, (executor, key) in enumerate((("slurm", "x"), ("slurm", "y"), ("local", "x"))):
            spec = {"resources": {"slurm": slurm if number == 0 else {}}}
            columns: dict[str, Any] = {"executor": executor, "device_key": key, "owner": "a", "defaulted": []}
            session.add(Job(id=f"job_{number}", kind="expert", name="", state=State.succeeded, spec=spec, **columns))
        # Stored before there was Slurm.
        session.add(
            Job(id="job_3", kind="expert", name="", state=State.succeeded, spec={}, **columns | {"executor": "slurm"})
        )
    with reading(database) as session:
        assert list(slurm_options_of_device(session, "x")) == [{}, slurm]
