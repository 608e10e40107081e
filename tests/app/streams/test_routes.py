"""The stored events of a job, by type."""

from __future__ import annotations

from app.models import State
from tests.app.api import EventFile, Service
from tests.app.cli.attempts import submit_with_two_attempts
from worker.ingest import ingest


def test_events_are_listed_by_type_and_paged(service: Service) -> None:
    from app.db import reading
    from app.models import Attempt

    job_id = submit_with_two_attempts(service, {"kind": "expert", "expert": {"arch": "convnet_small"}})
    service.transition(job_id, State.starting, State.running)
    file = service.settings.runs_dir / job_id / "attempt-2/events.jsonl"
    log = EventFile(file)
    for step in range(1, 4):
        log.metrics(step, train__loss_total=1.0)
        log.add("log", {"level": "info", "message": "note"})
    with reading(service.app.state.engine) as session:
        attempt = session.get(Attempt, (job_id, 2))
        assert attempt is not None
        session.expunge(attempt)
    assert ingest(service.app.state.engine, attempt, file) > 0

    def types(query: str) -> list[str]:
        return [event["type"] for event in service.get(f"/jobs/{job_id}/events?{query}").json()["items"]]

    assert types("type=state") == ["state"] * 3
    assert types("type=state&type=log") == ["state"] * 3 + ["log"] * 3
    assert sorted(set(types(""))) == ["log", "metrics", "state"]
    page = service.get(f"/jobs/{job_id}/events?type=metrics&limit=2").json()
    assert len(page["items"]) == 2
    assert types(f"type=metrics&cursor={page['next_cursor']}") == ["metrics"]


def test_a_stream_has_all_types(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.cancelled)
    answer = service.get(f"/jobs/{job_id}/events?type=state", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, "leave it out" in answer.json()["detail"]) == (422, True)
