"""Quotas over HTTP: who may set them, what they keep a user from, and what `GET /usage` counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from app.db import now, transaction
from app.models import Attempt, DeviceTime, Job, State
from tests.app.api import EXPERT, Service

GB = 10**9
SWEEP = {"name": "s", "base": EXPERT, "grid": {"training.seed": [1, 2]}}


def put(service: Service, owner: str, user: str = "admin", /, **limits: Any) -> Any:
    return service.call("PUT", f"/quotas/{owner}", user, json=limits)


def store(service: Service, job_id: str, size_bytes: int) -> None:
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).where(col(Job.id) == job_id).values(size_bytes=size_bytes))


def test_admins_set_quotas_and_everyone_sees_them(service: Service) -> None:
    full = {"max_running": 2, "device_hours_per_month": 100.5, "max_bytes": 10 * GB}
    assert put(service, "alice", **full).json() == {"owner": "alice", **full}
    # What is left out is not limited any more.
    none: dict[str, Any] = dict.fromkeys(full)
    assert put(service, "alice", max_running=3).json() == {"owner": "alice", **none, "max_running": 3}
    assert put(service, "*", max_running=1).status_code == 200
    # Owners may have any name, with slashes too.
    assert put(service, "group%2Fa b", max_running=1).json()["owner"] == "group/a b"
    answer = service.get("/quotas", "eve").json()
    assert [row["owner"] for row in answer["items"]] == ["*", "alice", "group/a b"]
    assert answer["next_cursor"] is None
    for user in ("alice", "eve"):
        assert put(service, "alice", user, max_running=9).status_code == 403
        assert service.call("DELETE", "/quotas/alice", user).status_code == 403
    assert service.call("DELETE", "/quotas/alice").status_code == 204
    again = service.call("DELETE", "/quotas/alice")
    assert (again.status_code, again.json()["type"]) == (404, "not-found")
    assert [row["owner"] for row in service.get("/quotas").json()["items"]] == ["*", "group/a b"]


@pytest.mark.parametrize(
    ("owner", "body"),
    [
        ("alice", {"max_running": -1}),
        ("alice", {"max_running": 1.5}),
        ("alice", {"max_running": "1"}),
        ("alice", {"max_running": True}),
        ("alice", {"max_running": 2**40}),
        ("alice", {"max_bytes": 2**63}),
        ("alice", {"device_hours_per_month": -0.5}),
        ("alice", {"device_hours_per_month": 1e300}),
        ("alice", {"max_jobs": 1}),
        ("alice", []),
        ("%00", {}),
        ("", {}),
        ("a" * 101, {}),
    ],
)
def test_a_quota_that_cannot_be_is_refused_in_a_sentence(shared_service: Service, owner: str, body: Any) -> None:
    answer = shared_service.call("PUT", f"/quotas/{owner}", content=json.dumps(body))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), answer.text


def test_with_too_many_bytes_nothing_new_is_accepted_until_jobs_are_deleted(service: Service) -> None:
    failed, others = service.submit(user="alice"), service.submit(user="bob")
    service.transition(failed, State.failed)
    sweep = service.post("/sweeps", SWEEP, "alice").json()["id"]
    put(service, "*", max_bytes=2 * GB)
    store(service, failed, 2 * GB - 1)
    assert service.post("/jobs?dry_run=true", EXPERT, "alice").status_code == 200
    store(service, failed, 2 * GB)
    body = {"Idempotency-Key": "k"}
    for path, content in (
        ("/jobs", EXPERT),
        ("/jobs?dry_run=true", EXPERT),
        ("/sweeps", SWEEP),
        ("/sweeps?dry_run=true", SWEEP),
        (f"/jobs/{failed}/retry", None),
        (f"/sweeps/{sweep}/retry", None),
    ):
        answer = service.post(path, content, "alice")
        assert (answer.status_code, answer.json()["type"]) == (403, "quota-exceeded"), path
        assert answer.json()["detail"].startswith(
            "the jobs of alice store 2.0 GB, and the quota is 2.0 GB: delete jobs that have ended"
        )
    # An admin who retries it does so within the quota of its owner.
    assert service.post(f"/jobs/{failed}/retry").status_code == 403
    assert service.post("/jobs", EXPERT, "bob", headers=body).status_code == 201
    store(service, others, 3 * GB)
    # A submission that was accepted before is not refused afterwards.
    assert service.post("/jobs", EXPERT, "bob", headers=body).status_code == 200
    assert service.post("/jobs", EXPERT, "bob").status_code == 403
    # A quota of bob's own holds instead of that of everyone, also one without a limit.
    for own, status in (({"max_bytes": 4 * GB}, 201), ({"max_bytes": GB}, 403), ({}, 201)):
        put(service, "bob", **own)
        assert service.post("/jobs", EXPERT, "bob").status_code == status, own
    assert service.call("DELETE", f"/jobs/{failed}", "alice").status_code == 200
    assert service.post("/jobs", EXPERT, "alice").status_code == 201


def test_usage_of_a_month_by_user(service: Service) -> None:
    ids = [service.submit(user=user) for user in ("alice", "alice", "alice", "bob")]
    service.transition(ids[0], State.starting, State.running, State.succeeded)
    service.transition(ids[1], State.failed)
    service.transition(ids[2], State.starting, State.running)
    store(service, ids[0], 5000)
    month = f"{now():%Y-%m}"
    begin = max(now() - timedelta(hours=2), datetime.fromisoformat(f"{month}-01T00:00:00+00:00"))
    times = [
        DeviceTime(owner="alice", month=month, gpu_s=7200.0, cpu_s=900.0),
        DeviceTime(owner="carol", month=month, gpu_s=1e6),
        DeviceTime(owner="bob", month="2024-02", cpu_s=3600.0),
    ]
    attempt = Attempt(job_id=ids[2], number=1, executor="local", host="h", devices=["0", "1"], started_at=begin)
    with transaction(service.app.state.engine) as session:
        session.add_all([*times, attempt])
    usage = service.get("/usage", "eve").json()
    assert usage == service.get(f"/usage?month={month}").json() | {
        name: usage[name] for name in ("device_hours", "gpu_hours", "owners")
    }
    carol, alice, bob = usage["owners"]
    assert (carol["owner"], carol["jobs"], carol["stored_bytes"]) == ("carol", 0, 0)
    running_h = 2 * (now() - begin).total_seconds() / 3600
    assert alice["gpu_hours"] == pytest.approx(2.0 + running_h, abs=0.05)
    assert alice["cpu_hours"] == pytest.approx(0.25)
    assert alice["device_hours"] == pytest.approx(alice["gpu_hours"] + alice["cpu_hours"])
    counts = {name: alice[name] for name in ("jobs", "succeeded", "failed", "running", "stored_bytes")}
    assert counts == {"jobs": 3, "succeeded": 1, "failed": 1, "running": 1, "stored_bytes": 5000}
    assert (bob["device_hours"], bob["jobs"], bob["running"]) == (0.0, 1, 0)
    past = service.get("/usage?month=2024-02").json()
    assert past["device_hours"] == past["cpu_hours"] == 1.0
    assert [(row["owner"], row["jobs"]) for row in past["owners"]] == [("bob", 0), ("alice", 0)]


def test_jobs_count_in_the_month_in_which_they_were_created(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    for moment in (at - timedelta(milliseconds=1), at):
        stamp = moment.timestamp()
        monkeypatch.setattr("ulid.time.time_ns", lambda stamp=stamp: round(stamp * 1e9))
        service.submit(user="alice")
    for month in ("2026-11", "2026-12"):
        [row] = service.get(f"/usage?month={month}").json()["owners"]
        assert row["jobs"] == 1, month


@pytest.mark.parametrize(
    "query", ["month=2026-13", "month=26-1", "month=0000-01", "month=9999-12", "month=2026-11&days=3", "days=0"]
)
def test_a_month_that_cannot_be_is_refused(shared_service: Service, query: str) -> None:
    answer = shared_service.get(f"/usage?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("owner", ["%2e%2e", "%20alice", "alice%20", "%20"])
def test_no_quota_is_for_a_name_that_no_user_has(service: Service, owner: str) -> None:
    assert put(service, owner, max_running=1).status_code == 422


def test_a_wrong_month_is_answered_with_an_example(service: Service) -> None:
    answer = service.get("/usage?month=2026-13")
    assert (answer.status_code, answer.json()["detail"]) == (422, "month: must be a year and a month, such as 2026-11")


def test_small_sizes_are_not_rounded_to_nothing(service: Service) -> None:
    store(service, service.submit(user="alice"), 1_300_000)
    put(service, "alice", max_bytes=1_000_000)
    answer = service.post("/jobs", EXPERT, "alice")
    assert "store 1.3 MB, and the quota is 1.0 MB: delete jobs" in answer.json()["detail"]
