"""The page of a job and that of its log over HTTP, without a browser."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from app.db import now, transaction
from app.models import Attempt, Reason, State
from core.run.rundir import RunDir
from tests.app.api import EXPERT, FUSION, Service
from tests.app.jobs.explaining import set_job
from tests.web.test_security import log_in

HOSTILE = "<script>alert(1)</script> <b>bold</b> \"'&amp; עברית"
PARTS = ("header", "attempts", "components", "evaluation")


def get(service: Service, path: str, owner: str = "alice") -> str:
    answer = service.http.get(path, headers=log_in(service, owner))
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def post(service: Service, path: str, owner: str = "alice", **data: Any) -> Any:
    return service.http.post(path, data=data, headers=log_in(service, owner), follow_redirects=False)


def write_log(service: Service, job_id: str, text: str, number: int = 1) -> None:
    log = RunDir(service.settings.runs_dir / job_id).attempt(number).log
    log.parent.mkdir(parents=True)
    log.write_text(text)


def test_a_new_job_says_what_will_come_and_offers_what_can_be_done(service: Service) -> None:
    job_id = service.submit(EXPERT | {"name": "digits one"}, "alice")
    html = get(service, f"/ui/jobs/{job_id}")
    for text in ("digits one", job_id, "queued", "No accuracy yet", "the first one begins when a device is free",
                 "the best version of each is saved", "it starts with attempt 1", "convnet_small",
                 f"/ui/new?from={job_id}", f"job={job_id}~0"):  # fmt: skip
        assert text in html, text
    for anchor in ("curves", "model", "attempts", "components", "log", "spec", "evaluation"):
        assert f'id="{anchor}"' in html
    assert f"/ui/jobs/{job_id}/cancel" in html
    assert f"/ui/jobs/{job_id}/delete" not in html


@pytest.mark.parametrize("part", PARTS)
def test_a_refreshed_part_is_the_same_as_in_the_page(service: Service, part: str) -> None:
    job_id = service.submit(FUSION, "alice")
    fragment = get(service, f"/ui/-/jobs/{job_id}/{part}")
    assert "<html" not in fragment
    assert f'data-live-src="/ui/-/jobs/{job_id}/{part}"' in fragment
    opening = fragment[fragment.index("<section" if "<section" in fragment else "<header") :].partition(">")[0]
    assert opening in get(service, f"/ui/jobs/{job_id}")


def test_others_read_but_do_not_change(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    for owner in ("bob", "eve"):
        assert f"/ui/jobs/{job_id}/cancel" not in get(service, f"/ui/jobs/{job_id}", owner)
        assert post(service, f"/ui/jobs/{job_id}/cancel", owner).status_code == 403
    assert "/ui/new?from=" not in get(service, f"/ui/jobs/{job_id}", "eve")


def test_a_job_is_cancelled_retried_with_other_resources_and_deleted(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    answer = post(service, f"/ui/jobs/{job_id}/cancel", next=f"/ui/jobs/{job_id}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/jobs/{job_id}")
    html = get(service, f"/ui/jobs/{job_id}")
    assert "A user cancelled it." in html
    assert "Retry with other resources" in html
    answer = post(service, f"/ui/jobs/{job_id}/retry", memory_gb="7", cpus="", gpus="0", time_limit_min="")
    assert answer.status_code == 303
    job = service.get(f"/jobs/{job_id}").json()
    assert (job["state"], job["spec"]["resources"]["memory_gb"], job["spec"]["resources"]["cpus"]) == ("queued", 7, 2)
    refused = post(service, f"/ui/jobs/{job_id}/retry")
    assert (refused.status_code, "so it cannot be retried" in refused.text) == (409, True)
    assert "Cancel it first" in get(service, f"/ui/jobs/{job_id}/delete")
    post(service, f"/ui/jobs/{job_id}/cancel")
    write_log(service, job_id, "x" * 4_200)
    assert "Delete 4.2 kB" in get(service, f"/ui/jobs/{job_id}/delete")
    assert "only its owner" in get(service, f"/ui/jobs/{job_id}/delete", "bob")
    answer = post(service, f"/ui/jobs/{job_id}/delete")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/jobs")
    assert service.get(f"/jobs/{job_id}").status_code == 404
    gone = service.http.get(f"/ui/jobs/{job_id}", headers=log_in(service))
    assert (gone.status_code, "there is no job" in gone.text) == (404, True)


def test_a_job_that_cannot_be_retried_offers_a_copy_in_place_of_a_retry(service: Service) -> None:
    needed = service.submit(EXPERT, "alice")
    job_id = service.submit(FUSION | {"experts": [{"from": {"job": needed, "component": "expert_0"}}]}, "alice")
    service.transition(job_id, State.cancelled)
    clone, retry = f'href="/ui/new?from={job_id}">Clone', f'action="/ui/jobs/{job_id}/retry"'
    html = get(service, f"/ui/jobs/{job_id}")
    assert (html.count(clone), f'primary" {clone}' in html, retry in html) == (1, False, True)
    service.transition(needed, State.cancelled)
    assert service.call("DELETE", f"/jobs/{needed}").status_code == 200
    html = get(service, f"/ui/jobs/{job_id}")
    assert (html.count(clone), f'primary" {clone}' in html, retry in html) == (1, True, False)


@pytest.mark.parametrize(
    ("reason", "offered"), [("loss_not_finite", False), ("invalid_component", False), ("lost", True)]
)
def test_a_retry_that_fails_again_is_not_offered(service: Service, reason: str, offered: bool) -> None:
    job_id = service.submit(EXPERT, "alice")
    set_job(service, job_id, state="failed", reason=reason, attempt=1)
    html = get(service, f"/ui/jobs/{job_id}")
    assert (f'action="/ui/jobs/{job_id}/retry"' in html) == offered
    assert f"/ui/new?from={job_id}" in html


def test_impossible_resources_give_a_page_that_says_why(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    service.transition(job_id, State.cancelled)
    answer = post(service, f"/ui/jobs/{job_id}/retry", cpus="5000")
    assert (answer.status_code, "1024" in answer.text) == (422, True)
    assert post(service, f"/ui/jobs/{job_id}/retry", cpus="many").status_code == 422


def test_hostile_text_is_shown_as_text(service: Service) -> None:
    job_id = service.submit(EXPERT | {"name": HOSTILE}, "alice")
    service.transition(job_id, State.starting, attempt=1)
    message = "\x1b[31mred\x1b[0m <img src=x onerror=alert(1)> \u202e" + "y" * 10_000
    service.transition(job_id, State.failed, reason=Reason.code_error, message=message)
    write_log(service, job_id, message + "\n<script>\n")
    for path in (f"/ui/jobs/{job_id}", f"/ui/jobs/{job_id}/log", f"/ui/jobs/{job_id}/delete"):
        html = get(service, path)
        assert "&lt;script&gt;" in html
        for text in ("<script>alert", "<img", "\x1b", "\u202e"):
            assert text not in html, (path, text)


def test_the_result_is_shown_with_what_is_absent(service: Service) -> None:
    job_id = service.submit(FUSION, "alice")
    run = RunDir(service.settings.runs_dir / job_id)
    run.path.mkdir(parents=True)
    metrics = {"test/accuracy_fused": 0.9, "test/accuracy_oracle": 0.95, "test/accuracy_expert_0": 0.8}
    result = {"metrics": metrics, "absent": {"test/ece": "no <b>numbers</b>"}}
    run.result.write_text(json.dumps(result))
    html = get(service, f"/ui/-/jobs/{job_id}/evaluation")
    for text in ("test set", "5.0 points", "+10.0 points", "no &lt;b&gt;numbers", "Expert"):
        assert text in html
    assert "Winning share" not in html
    shares = {"winning_share_by_class": [[0.75, None], [0.25, None]], "warnings": ["expert_1 is <b>dead"]}
    run.result.write_text(json.dumps(result | shares))
    html = get(service, f"/ui/-/jobs/{job_id}/evaluation")
    for text in ("Winning share by class", ">0.75</td>", "Warning: expert_1 is &lt;b&gt;dead"):
        assert text in html
    run.result.write_text(json.dumps(result | {"winning_share_by_class": [[0.5] * 100] * 2}))
    assert "has the smallest loss is in the <a" in get(service, f"/ui/-/jobs/{job_id}/evaluation")
    run.result.write_text("{damaged")
    assert "No accuracy yet" in get(service, f"/ui/-/jobs/{job_id}/evaluation")


def test_the_best_subsets_are_shown_with_what_each_expert_is_worth(service: Service) -> None:
    job_id = service.submit(FUSION, "alice")
    run = RunDir(service.settings.runs_dir / job_id)
    run.path.mkdir(parents=True)
    metrics = {f"test/accuracy_expert_{k}": 0.6 for k in range(2)} | {"test/accuracy_fused": 0.9}
    metrics |= {f"test/accuracy_without_expert_{k}": 0.775 for k in range(2)}
    metrics |= {"test/shapley_expert_0": 0.35, "test/shapley_expert_1": 0.45}
    subsets = {"none": 0.1, "0": 0.7, "1": 0.775, "0,1": 0.9}
    run.result.write_text(json.dumps({"metrics": metrics, "subsets": subsets}))
    html = get(service, f"/ui/-/jobs/{job_id}/evaluation")
    for text in ("Leave-one-out, points", "+12.5", "Shapley, points", "+45.0", "Best experts of each number", "0, 1"):
        assert text in html, text


def test_the_specification_can_be_reduced_to_what_was_given(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    assert "max_attempts" in get(service, f"/ui/jobs/{job_id}")
    given = get(service, f"/ui/jobs/{job_id}?spec=given")
    assert "max_attempts" not in given
    assert "arch: convnet_small" in given
    answer = service.http.get(f"/ui/jobs/{job_id}?spek=given", headers=log_in(service))
    assert answer.status_code == 422


def test_the_log_has_windows_search_and_attempts(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    path = f"/ui/jobs/{job_id}/log"
    assert "it starts with attempt 1" in get(service, path)
    service.transition(job_id, State.starting, attempt=2)
    write_log(service, job_id, "first attempt\n", 1)
    write_log(service, job_id, "".join(f"line {k} of many\n" for k in range(2_000)), 2)
    last = get(service, path)
    assert "line 1999 of many" in last
    assert "line 0 of many" not in last
    assert ">Previous</a>" in last
    assert ">Next</a>" not in last
    first = get(service, f"{path}?at=0")
    assert "line 499 of many" in first
    assert "line 500 of many" not in first
    assert ">Last</a>" in first
    assert "first attempt" in get(service, f"{path}?attempt=1")
    found = get(service, f"{path}?q=LINE+77+")
    assert "1 line with" in found
    assert "at=1222" in found
    assert "0 lines with" in get(service, f"{path}?q=%3Cnothing%3E")
    # A link to a line leads to it also after another attempt began.
    line = "attempt=2&amp;at=1222#byte-1222"
    assert line in get(service, f"{path}?at=1222")
    assert "attempt=2&amp;at=34872#byte-34872" in get(service, f"/ui/-/jobs/{job_id}/log")
    assert f'data-stream="/events?job={job_id}' in first
    assert "data-stream" not in get(service, f"{path}?attempt=1")
    service.transition(job_id, State.failed)
    assert "data-stream" not in get(service, path)
    assert "failed" in get(service, f"/ui/-/jobs/{job_id}/state")
    answer = service.http.get(f"{path}?attempt=9", headers=log_in(service))
    assert answer.status_code == 404


@pytest.mark.parametrize("begins", [False, True])
def test_nothing_is_announced_for_a_job_that_has_ended(service: Service, begins: bool) -> None:
    job_id = service.submit(EXPERT, "alice")
    if begins:
        service.transition(job_id, State.starting, attempt=1)
        service.transition(job_id, State.failed, reason=Reason.code_error, message="no data")
    else:
        post(service, f"/ui/jobs/{job_id}/cancel")
    for path in (f"/ui/jobs/{job_id}", f"/ui/jobs/{job_id}/log"):
        html = get(service, path)
        assert not re.search(r"\byet\b|class=\"empty\"", html), path


def test_an_error_is_told_once_with_a_short_reason_elsewhere(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    service.transition(job_id, State.starting, attempt=1)
    message = "there is no data at birds\nlast line of the log"
    columns: dict[str, Any] = {"executor": "local", "host": "here", "devices": ["cpu"]}
    columns |= {"started_at": now() - timedelta(seconds=5), "ended_at": now()}
    with transaction(service.app.state.engine) as session:
        session.add(Attempt(job_id=job_id, number=1, outcome="failed", reason="code_error", message=message, **columns))
    service.transition(job_id, State.failed, reason=Reason.code_error, message=message)
    assert "last line of the log" in get(service, f"/ui/-/jobs/{job_id}/header")
    for part in ("attempts", "events"):
        html = get(service, f"/ui/-/jobs/{job_id}/{part}")
        assert "no data at birds" not in html
        assert ": ended with an error" in html
    # It ended before its first step.
    assert "<dt>Lost</dt>" in get(service, f"/ui/-/jobs/{job_id}/attempts")


def test_time_is_called_lost_only_where_it_was(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    service.transition(job_id, State.starting, State.running, attempt=1)
    with transaction(service.app.state.engine) as session:
        session.add(Attempt(job_id=job_id, number=1, executor="local", host="here", devices=["cpu"]))
    html = get(service, f"/ui/-/jobs/{job_id}/attempts")
    assert "<dt>Useful</dt>" in html
    assert "Lost" not in html
