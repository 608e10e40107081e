"""Webhooks of a real service: those of the API, those of the worker, and one whose sender is killed."""

from __future__ import annotations

from pathlib import Path

from app.db import make_engine
from tests.e2e.running import Running, expert, expert_of_many_steps, once
from tests.worker.outbox import SECRET, deliveries, make_due
from tests.worker.receivers import ReceiverServer, receiving


def arrived(server: ReceiverServer, job_id: str) -> list[str]:
    return [request.body["id"] for request in server.received if request.body["job"]["id"] == job_id]


def test_the_end_of_a_job_arrives_also_if_the_worker_is_killed_while_it_sends(tmp_path: Path) -> None:
    with receiving() as server:
        up = Running(tmp_path / "data", MCN_WEBHOOK_URL=server.url, MCN_WEBHOOK_SECRET=SECRET)
        engine = make_engine(up.settings.sqlalchemy_url)
        up.start()
        try:
            ended = up.submit(expert(epochs=1))
            assert up.wait(ended)["state"] == "succeeded"
            once(lambda: bool(arrived(server, ended)) and not deliveries(engine), "the delivery of the worker")

            # The worker has sent it and cannot mark it any more.
            server.before_answer = lambda: up.kill("worker")
            killed = up.submit(expert_of_many_steps())
            waits = up.submit(expert(epochs=1))
            # Its end is recorded by the API.
            up.api.post(f"/jobs/{waits}/cancel")
            once(lambda: bool(arrived(server, waits)), "the delivery whose worker is killed")
            server.before_answer = lambda: None
            once(lambda: up.pid("worker") is not None, "the restart of the worker")
            stored = [row.delivery_id for row in deliveries(engine)]
            assert [one for one in stored if one.startswith(waits)] == arrived(server, waits)
            make_due(engine)
            once(lambda: not deliveries(engine), "the delivery by the next worker")
            assert up.wait(killed)["state"] == "succeeded"
            once(lambda: bool(arrived(server, killed)) and not deliveries(engine), "the last delivery")
        finally:
            up.stop()
            engine.dispose()
    assert len(arrived(server, ended)) == len(arrived(server, killed)) == 1
    first, second = arrived(server, waits)
    assert first == second
    states = {request.body["job"]["id"]: request.body["job"]["state"] for request in server.received}
    assert states == {ended: "succeeded", waits: "cancelled", killed: "succeeded"}
