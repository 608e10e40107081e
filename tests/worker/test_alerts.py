"""Alerts of training: stored once for each key, shown wherever events are, and delivered once."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Engine
from sqlmodel import select

from app.db import reading
from app.jobs.alert_queries import MAX_ALERTS
from app.jobs.webhook_queries import subscribe
from app.models import Event, State
from core.reporting.alerts import Alert
from tests.app.api import EventFile, Service
from tests.worker.outbox import deliveries, send_due, settings_for
from tests.worker.receivers import receiving
from tests.worker.test_ingest import reload, start_attempt
from worker.ingest import ingest

DEAD = Alert("dead_expert", "expert_1 is dead", "expert_1 hardly ever wins", subject="expert_1", step=40)


def begin(service: Service, number: int = 1, job_id: str | None = None, step: int = 0) -> tuple[str, EventFile]:
    """The event log of an attempt that has begun to train."""
    job_id = start_attempt(service, number, job_id).job_id
    file = EventFile(service.context.attempt((job_id, number)).events)
    file.add("state", {"state": "running", "step": step})
    return job_id, file


def read(service: Service, job_id: str, number: int = 1) -> None:
    ingest(service.app.state.engine, reload(service, job_id, number), service.context.attempt((job_id, number)).events)


def alerts(service: Service, job_id: str) -> list[dict[str, Any]]:
    items = service.get(f"/jobs/{job_id}/events?type=alert").json()["items"]
    return [item["data"] for item in items]


def events_of(engine: Engine) -> list[Event]:
    with reading(engine) as session:
        rows = list(session.exec(select(Event).where(Event.type == "alert")))
        session.expunge_all()
    return rows


def test_an_alert_is_an_event_an_explanation_and_on_the_page(service: Service) -> None:
    job_id, file = begin(service)
    file.add("alert", DEAD.to_json())
    read(service, job_id)
    assert alerts(service, job_id) == [
        {
            "level": "warning",
            "code": "dead_expert",
            "title": "expert_1 is dead",
            "message": "expert_1 hardly ever wins",
            "subject": "expert_1",
            "step": 40,
            "key": "dead_expert:expert_1:40",
        }
    ]
    assert "expert_1 hardly ever wins." in service.get(f"/jobs/{job_id}/explain").json()["evidence"]
    service.transition(job_id, State.failed)
    stream = service.get(f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}).text
    assert "event: alert\n" in stream
    page = service.get(f"/ui/jobs/{job_id}", headers={"Accept": "text/html"}).text
    events = page[page.index('<section id="events"') :]
    assert re.search(r"Warning: expert_1 is dead</strong>", events)
    assert 'data-live-on="state component log alert rung"' in events


def test_a_step_that_is_done_again_raises_its_alert_once(service: Service) -> None:
    job_id, file = begin(service)
    file.add("alert", DEAD.to_json())
    file.add("alert", DEAD.to_json())
    read(service, job_id)
    service.transition(job_id, State.queued)
    _, file = begin(service, 2, job_id, step=20)
    file.add("alert", DEAD.to_json())
    later = Alert("dead_expert", "expert_1 is dead", "again", subject="expert_1", step=90)
    file.add("alert", later.to_json())
    read(service, job_id, 2)
    assert [alert["step"] for alert in alerts(service, job_id)] == [40, 90]


def test_a_job_has_no_more_than_its_share_of_alerts(service: Service) -> None:
    job_id, file = begin(service)
    for step in range(MAX_ALERTS + 10):
        file.add("alert", Alert("dead_expert", "", "", subject="expert_1", step=step).to_json())
    read(service, job_id)
    assert len(events_of(service.app.state.engine)) == MAX_ALERTS
    file.add("alert", Alert("dead_expert", "", "", subject="expert_2", step=9).to_json())
    read(service, job_id)
    assert len(events_of(service.app.state.engine)) == MAX_ALERTS


def test_an_alert_is_delivered_once(service: Service) -> None:
    engine = service.app.state.engine
    with receiving() as server:
        subscribe(engine, settings_for(server.url))
        job_id, file = begin(service)
        for _ in range(2):
            file.add("alert", DEAD.to_json())
            read(service, job_id)
            send_due(engine, server.url)
    [event] = events_of(engine)
    [request] = server.received
    assert request.headers["X-MCN-Delivery"] == request.body["id"] == f"{job_id}-{event.id}"
    assert (request.body["type"], request.body["alert"]) == ("job.alert", event.data)
    assert {name: request.body["job"][name] for name in ("id", "kind", "state", "attempt")} == {
        "id": job_id,
        "kind": "expert",
        "state": "running",
        "attempt": 1,
    }
    assert deliveries(engine) == []


def test_alerts_are_not_delivered_where_the_setting_says_so(service: Service) -> None:
    engine = service.app.state.engine
    subscribe(engine, settings_for("https://one.example", webhook_alerts=False))
    job_id, file = begin(service)
    file.add("alert", DEAD.to_json())
    read(service, job_id)
    assert (len(alerts(service, job_id)), deliveries(engine)) == (1, [])


def test_the_openapi_description_has_the_type_and_the_fields_of_alerts(service: Service) -> None:
    description = service.get("/openapi.json").json()
    parameters = description["paths"]["/jobs/{job_id}/events"]["get"]["parameters"]
    [of_type] = [parameter for parameter in parameters if parameter["name"] == "type"]
    assert "alert" in str(of_type)
    assert set(description["components"]["schemas"]["AlertData"]["required"]) == set(DEAD.to_json())
