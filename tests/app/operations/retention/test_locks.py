"""On PostgreSQL, a run waits for nobody: a job that somebody is changing is left for the next one."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.db import transaction
from app.jobs import queries
from tests.app.api import Service
from tests.app.operations.retention.ended import ended, existing, put, run

ONLY_POSTGRES = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@ONLY_POSTGRES
def test_a_job_that_is_being_changed_is_skipped(any_service: Service) -> None:
    locked, other = ended(any_service), ended(any_service)
    put(any_service, {})
    with transaction(any_service.app.state.engine) as session:
        assert queries.locked_job(session, locked) is not None
        assert [item["job"] for item in run(any_service)["items"]] == [other]
    assert run(any_service)["jobs"] == 1


@ONLY_POSTGRES
def test_a_job_to_which_a_submission_refers_at_this_moment_is_skipped(any_service: Service) -> None:
    referred, other = ended(any_service), ended(any_service)
    put(any_service, {})
    with transaction(any_service.app.state.engine) as session:
        # As a foreign key to it does.
        session.execute(text("SELECT id FROM jobs WHERE id = :id FOR KEY SHARE"), {"id": referred})
        assert [item["job"] for item in run(any_service)["items"]] == [other]
        assert existing(any_service) == {referred}
    assert run(any_service)["jobs"] == 1
