"""The same service on PostgreSQL and Redis."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.e2e.fixtures import Undisturbed
from tests.e2e.running import Running, expert, fusion, once


def test_a_job_runs_on_postgresql_and_redis(
    postgres_url: str, redis_url: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    url = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    up = Running(tmp_path / "data", MCN_DATABASE_URL=url, MCN_BROKER_URL=redis_url)
    up.start()
    try:
        job_id = up.submit(fusion())
        waits = up.submit(expert(epochs=1) | {"priority": 3})
        up.wait_step(job_id, 5)
        up.kill("worker")
        assert up.wait(job_id)["state"] == "succeeded"
        assert up.proof(job_id) == undisturbed["fusion"]
        assert up.wait(waits)["state"] == "succeeded"
        ids = [event["id"] for event in up.api.events(job_id)]
        assert ids == sorted(set(ids))
        assert up.api.delete(f"/jobs/{job_id}")["bytes_freed"] > 0
        assert up.cli("doctor").stdout.count("no  ") == 0
    finally:
        up.stop()


def test_without_a_broker_the_reconciler_starts_the_job_and_the_service_says_so(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        up = Running(tmp_path / "data", MCN_BROKER_URL=f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        up.start()
        try:
            job_id = up.submit(expert(epochs=1))
            once(lambda: up.job(job_id)["state"] != "queued", "start by the reconciler", 120)
            assert up.wait(job_id)["state"] == "succeeded"
        finally:
            said = up.stop()
    assert "is not reachable ([Errno 111] Connection refused): jobs start later." in " ".join(said.split())


def test_without_a_broker_a_notification_starts_the_job_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    url = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        broker = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        # The reconciler would come too late.
        up = Running(tmp_path / "data", MCN_DATABASE_URL=url, MCN_BROKER_URL=broker, MCN_RECONCILE_S="100000")
        up.start()
        try:
            # The first rounds look at the queue anyway.
            once(lambda: bool(up.api.get("/cluster")["workers"]), "the first round of the worker")
            job_id = up.submit(expert(epochs=1))
            once(lambda: up.job(job_id)["state"] != "queued", "start by the notification", 120)
            assert up.wait(job_id)["state"] == "succeeded"
        finally:
            up.stop()
