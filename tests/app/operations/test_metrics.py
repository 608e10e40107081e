"""`GET /metrics`: who may read it, and what it says about requests and streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from app.models import State
from app.operations import metrics
from app.operations.metrics import Metrics
from app.streams.events import EventFilter
from app.streams.hub import Hub
from tests.app.api import Service
from tests.app.operations.metrics import Samples, parse, scrape


def requests(samples: Samples) -> dict[tuple[str, ...], float]:
    return {tuple(labels): value for (name, *labels), value in samples.items() if name == "mcn_http_requests_total"}


def test_it_needs_a_token_of_any_role(service: Service) -> None:
    assert service.get("/metrics", user=None).status_code == 401
    assert scrape(service, "eve")["mcn_jobs", "local", "queued"] == 0


def test_requests_are_counted_by_route_and_not_by_path(service: Service) -> None:
    job_id = service.submit()
    for _ in range(3):
        service.get(f"/jobs/{job_id}")
    service.get("/jobs/job_" + "0" * 26)
    service.get("/jobs", user=None)
    service.get("/jobs?limit=nonsense")
    service.get("/no/such/path/123")
    service.get("/static/docs/swagger-ui.css")
    service.call("BREW", "/jobs")
    assert requests(scrape(service)) == {
        ("POST", "/jobs", "2xx"): 1,
        ("GET", "/jobs/{job_id}", "2xx"): 3,
        ("GET", "/jobs/{job_id}", "4xx"): 1,
        ("GET", "unmatched", "4xx"): 2,
        ("GET", "/jobs", "4xx"): 1,
        ("GET", "/static", "2xx"): 1,
        ("other", "/jobs", "4xx"): 1,
    }


def test_the_time_until_the_response_begins_is_in_a_histogram(service: Service) -> None:
    service.get("/healthz")
    samples = scrape(service)
    name = "mcn_http_request_duration_seconds"
    assert samples[f"{name}_count", "GET", "/healthz"] == 1
    assert samples[f"{name}_bucket", "+Inf", "GET", "/healthz"] == 1
    assert 0 < samples[f"{name}_sum", "GET", "/healthz"] < 60


def test_a_defect_counts_as_an_error_of_the_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.jobs.routes.queries.get_job", fail)
    assert service.get("/jobs/job_" + "0" * 26).status_code == 500
    assert requests(scrape(service)) == {("GET", "/jobs/{job_id}", "5xx"): 1}


def test_followers_of_streams_and_their_events_are_counted(service: Service) -> None:
    job_id, engine = service.submit(), service.app.state.engine
    hub = Hub(engine)
    counted = Metrics(engine, hub)

    async def follow() -> Samples:
        await hub.start()
        async with hub.subscribed(job_id, 0) as subscription, hub.subscribed_to(EventFilter(), None):
            await run_in_threadpool(service.transition, job_id, State.cancelled)
            async with asyncio.timeout(20):
                while hub.num_distributed == 0:
                    await subscription.next(1.0)
            samples = parse(counted.scrape().decode())
        await hub.stop()
        return samples

    during, after = asyncio.run(follow()), parse(counted.scrape().decode())
    assert (during[("mcn_stream_subscribers",)], during[("mcn_stream_events_total",)]) == (2, 1)
    assert (after[("mcn_stream_subscribers",)], after[("mcn_stream_events_total",)]) == (0, 1)


def test_a_database_that_fails_is_a_problem_and_the_next_scrape_works(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr("app.operations.queries.count_jobs", fail)
        answer = service.get("/metrics")
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    assert scrape(service)


def test_a_scrape_does_not_wait_without_limit_for_another_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SCRAPE_WAIT_S", 0.01)
    with service.app.state.metrics._scraping:
        answer = service.get("/metrics")
    assert (answer.status_code, "scrape less often" in answer.json()["detail"]) == (503, True)
    assert scrape(service)
