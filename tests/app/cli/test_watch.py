"""Jobs are followed by their event streams."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import httpx
import pytest

from app.cli import watch
from app.cli.client import AWAY, Api, ApiError
from app.cli.terminal import SafeConsole
from tests.app.cli.conftest import Handler
from tests.app.cli.streams import StreamService, make_job, progress_event, state_event

FakeApi = Callable[[Handler], Api]
LONG = [progress_event(step + 1, step) for step in range(11, 40)]


def test_progress_comes_from_the_stream_without_reading_the_job_again(fake_api: FakeApi) -> None:
    service = StreamService({"job_1": [*LONG, state_event(99, "succeeded")]})
    snapshots = [job["progress"] | {} for [job] in watch.follow_jobs(fake_api(service), ["job_1"])]
    assert snapshots[0]["fraction"] == 0.25
    # Once at the start, once for the new state; the thread may ask once more at the end of the stream.
    assert len(service.reads) <= 3
    assert service.last_event_ids == [0]


def test_metrics_and_progress_events_update_the_job() -> None:
    job = make_job("job_1")
    watch._apply(job, {"type": "progress", "data": {"step": 20, "steps": 40, "epoch": 2}})
    watch._apply(job, {"type": "metrics", "data": {"step": 20, "values": {"val/accuracy_fused": 0.5}}})
    watch._apply(job, {"type": "log", "data": {"message": "hello"}})
    assert (job["progress"]["fraction"], job["progress"]["epoch"]) == (0.5, 2)
    assert job["metrics"] == {"val/accuracy_fused": 0.5}


def test_replayed_events_that_are_older_than_the_job_do_not_set_it_back() -> None:
    job = make_job("job_1")
    watch._apply(job, {"type": "progress", "data": {"step": 9, "steps": 40}})
    watch._apply(job, {"type": "metrics", "data": {"step": 9, "values": {"train/loss_total": 9.0}}})
    assert (job["progress"]["step"], job["metrics"]) == (10, {})


def test_a_broken_stream_is_resumed_after_the_last_event(fake_api: FakeApi) -> None:
    service = StreamService({"job_1": [*LONG, state_event(99, "succeeded")]}, breaks_after=[15, 30])
    [*_, last] = watch.follow_jobs(fake_api(service), ["job_1"])
    assert last[0]["state"] == "succeeded"
    assert service.last_event_ids == [0, 15, 30]


def test_several_jobs_are_followed_at_once(fake_api: FakeApi) -> None:
    events = {f"job_{k}": [*LONG, state_event(99, state)] for k, state in enumerate(["succeeded", "failed"])}
    [*_, last] = watch.follow_jobs(fake_api(StreamService(events)), list(events))
    assert [job["state"] for job in last] == ["succeeded", "failed"]


def test_a_job_whose_stream_is_refused_is_polled(fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.001)
    events = [*(state_event(k, "running") for k in range(5)), state_event(9, "succeeded")]
    service = StreamService({"job_1": events}, polled={"job_1"})
    [*_, last] = watch.follow_jobs(fake_api(service), ["job_1"])
    assert last[0]["state"] == "succeeded"
    assert (len(service.reads), service.last_event_ids) == (6, [0])


def test_jobs_beyond_the_limit_of_streams_are_polled(fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.001)
    monkeypatch.setattr(watch, "MAX_STREAMS", 0)
    events = [state_event(1, "running"), state_event(2, "succeeded")]
    service = StreamService({"job_1": events}, polled={"job_1"})
    [*_, last] = watch.follow_jobs(fake_api(service), ["job_1"])
    assert (last[0]["state"], service.last_event_ids) == ("succeeded", [])


def test_a_service_that_stays_away_is_an_error(fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.client.RETRY_LIMIT_S", 0.05)
    reads = iter([httpx.Response(200, json=make_job("job_1"))])

    def handler(request: httpx.Request) -> httpx.Response:
        if response := next(reads, None):
            return response
        raise httpx.ConnectError("connection refused")

    api, said = fake_api(handler), list[str]()
    api._say = said.append
    with pytest.raises(ApiError, match=r"is not reachable .* Its jobs go on without it"):
        list(watch.follow_jobs(api, ["job_1"]))
    assert said == [AWAY]


def test_each_outage_is_one_line(fake_api: FakeApi) -> None:
    answers = iter([502, 502, 200, 503, 200])
    api, said = fake_api(lambda request: httpx.Response(next(answers), json=make_job("job_1"))), list[str]()
    api._say = said.append
    assert [api.get_patiently("/jobs/job_1")["id"] for _ in range(2)] == ["job_1", "job_1"]
    assert said == [AWAY, AWAY]


def test_an_alert_is_printed_once_also_if_the_job_is_read_again(fake_api: FakeApi) -> None:
    alert = {"level": "warning", "message": "expert_1 is dead", "step": 2}
    events = [*LONG, (50, "alert", alert), state_event(60, "running"), state_event(99, "succeeded")]
    console = SafeConsole(file=StringIO(), width=200)
    watch.watch_jobs(fake_api(StreamService({"job_1": events})), ["job_1"], console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines.count("job_1  warning: expert_1 is dead") == 1, lines


def test_outside_a_terminal_each_change_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    running: dict[str, Any] = make_job("job_1", name="first")
    half = running["progress"] | {"fraction": 0.5, "epoch": 2}
    done = make_job("job_1", "succeeded", name="first", metrics={"test/accuracy_fused": 0.9})
    done["progress"] = half | {"fraction": 1.0}
    snapshots = [[running], [running], [running | {"progress": half}], [done]]
    monkeypatch.setattr(watch, "follow_jobs", lambda *_: iter(snapshots))
    console = SafeConsole(file=StringIO(), width=200)
    watch.watch_jobs(None, ["job_1"], console)  # type: ignore[arg-type]
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "first  running  epoch 1/4",
        "first  running  epoch 2/4",
        "first  succeeded  test 0.900",
    ]
