"""A queued job says that the quota of its owner holds it up, and those beyond a quota are not ahead of others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.jobs import quotas
from app.models import DeviceTime, Quota, State
from tests.app.api import Service
from tests.app.jobs.explaining import add, explain, worker


def test_a_job_beyond_max_running_says_how_many_run(service: Service) -> None:
    add(service, worker(), Quota(owner="alice", max_running=2))
    for _ in range(2):
        service.transition(service.submit(user="alice"), State.starting, State.running)
    job_id = service.submit(user="alice")
    assert explain(service, job_id)["sentence"] == (
        "Its owner alice has 2 jobs running, and the quota is 2: it starts when one of them ends."
    )
    # It is not ahead of the job of another user.
    others = service.submit(user="bob")
    assert explain(service, others)["sentence"].startswith("It is first in line")


def test_a_quota_of_no_running_jobs_says_so(service: Service) -> None:
    add(service, worker(), Quota(owner="*", max_running=0))
    assert explain(service, service.submit(user="bob"))["sentence"] == (
        "The quota of its owner bob is 0 running jobs: it starts when an admin raises it."
    )
    # Nor is it ahead of the job of a user who has a quota of their own.
    add(service, Quota(owner="alice", max_running=1))
    assert explain(service, service.submit(user="alice"))["sentence"].startswith("It is first in line")


@pytest.mark.parametrize(("month", "following"), [(11, "1 December"), (12, "1 January")])
def test_a_job_beyond_the_device_hours_says_when_it_starts(
    service: Service, monkeypatch: pytest.MonkeyPatch, month: int, following: str
) -> None:
    monkeypatch.setattr(quotas, "now", lambda: datetime(2026, month, 30, tzinfo=UTC))
    used = DeviceTime(owner="alice", month=f"2026-{month}", gpu_s=3600 * 101.34)
    add(service, worker(), Quota(owner="alice", device_hours_per_month=100), used)
    sentence = explain(service, service.submit(user="alice"))["sentence"]
    assert sentence.startswith("Its owner alice has used 101.3 device-hours in ")
    assert sentence.endswith(
        f"2026, and the quota is 100 a month: it starts on {following} (UTC), or when an admin raises it."
    )


def test_a_quota_of_no_hours_promises_no_date(service: Service) -> None:
    add(service, worker(), Quota(owner="alice", device_hours_per_month=0))
    assert explain(service, service.submit(user="alice"))["sentence"] == (
        "The quota of its owner alice is 0 device-hours: it starts when an admin raises it."
    )
