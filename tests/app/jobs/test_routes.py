"""Jobs over HTTP: submitted once, listed, changed only as their state allows, deleted."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.db import transaction
from app.jobs.examples import EXAMPLES
from app.models import Job, State
from tests.app.api import EXPERT, FUSION, Service


def test_a_submitted_job_is_stored_and_shown(service: Service) -> None:
    answer = service.post("/jobs", EXPERT)
    assert answer.status_code == 201
    job = answer.json()
    assert re.fullmatch(r"job_[0-9A-HJKMNP-TV-Z]{26}", job["id"])
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["owner"], job["tags"], job["attempt"]) == ("queued", "admin", ["a"], 0)
    assert job["spec"]["training"]["epochs"] == 30
    assert "training" in job["defaulted"]
    assert job["created_at"].endswith("Z")
    assert service.get(f"/jobs/{job['id']}").json() == job
    [event] = service.get(f"/jobs/{job['id']}/events").json()["items"]
    assert (event["type"], event["data"]["state"]) == ("state", "queued")


def test_a_dry_run_stores_nothing(service: Service) -> None:
    answer = service.post("/jobs?dry_run=true", FUSION)
    assert answer.status_code == 200
    assert len(answer.json()["spec"]["experts"]) == 2
    assert answer.json()["estimate"]["gpu_hours"] is None
    assert service.get("/jobs").json()["items"] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_openapi_description_can_be_posted(service: Service, name: str) -> None:
    shown = service.get("/openapi.json").json()["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert service.post("/jobs", shown["examples"][name]["value"]).status_code == 201


def test_the_same_idempotency_key_and_body_create_one_job(service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    first, again = (service.post("/jobs", EXPERT, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = service.post("/jobs", FUSION, headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "idempotency-mismatch")
    assert service.post("/jobs", FUSION, "alice", headers=key).status_code == 201


def test_lists_are_filtered_sorted_and_paged(service: Service) -> None:
    ids = [service.submit(EXPERT | {"name": f"n{k}", "priority": k % 3, "tags": [f"t{k % 2}"]}) for k in range(9)]
    fusion = service.submit(FUSION)
    service.transition(ids[0], State.cancelled)

    def listed(query: str) -> list[str]:
        ids: list[str] = []
        cursor = ""
        while True:
            page = service.get(f"/jobs?limit=2&{query}{cursor}").json()
            ids += [job["id"] for job in page["items"]]
            if page["next_cursor"] is None:
                return ids
            assert len(page["items"]) == 2
            cursor = f"&cursor={page['next_cursor']}"

    assert listed("") == [fusion, *reversed(ids)]
    assert listed("sort=created_at") == [*ids, fusion]
    assert listed("state=cancelled") == ids[:1]
    assert listed("state=cancelled&state=queued&sort=created_at") == [*ids, fusion]
    assert listed("kind=fusion") == [fusion]
    assert listed("tag=t1&sort=created_at") == ids[1::2]
    assert listed("q=n3") == [ids[3]]
    assert listed("q=%25") == []
    assert listed("sort=name")[1:] == ids
    by_priority = listed("sort=-priority")
    assert sorted(by_priority) == sorted([*ids, fusion])
    assert set(by_priority[:3]) == {ids[2], ids[5], ids[8]}


def test_pages_by_name_work_for_every_name_that_a_job_may_have(service: Service) -> None:
    names = sorted(["\U0001f9ea" * 200, "a\xa0b", "\u3000", "\ue000"])
    for name in names:
        service.submit(EXPERT | {"name": name})
    listed, cursor = [], ""
    for _ in names:
        page = service.get(f"/jobs?sort=name&limit=1{cursor}").json()
        listed += [job["name"] for job in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (listed, page["next_cursor"]) == (names, None)


def test_a_cursor_of_another_sort_order_is_refused(service: Service) -> None:
    for _ in range(2):
        service.submit()
    cursor = service.get("/jobs?limit=1").json()["next_cursor"]
    assert len(service.get(f"/jobs?sort=-created_at&cursor={cursor}").json()["items"]) == 1
    answer = service.get(f"/jobs?sort=created_at&cursor={cursor}")
    assert (answer.status_code, "with the same sort" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("users", "words"), [(1, "still needs its components: delete it after it has ended"), (2, "still need its")]
)
def test_a_job_whose_components_are_needed_is_not_deleted(service: Service, users: int, words: str) -> None:
    needed = service.submit()
    for _ in range(users):
        service.submit(FUSION | {"experts": [{"from": {"job": needed, "component": "expert_0"}}]})
    service.transition(needed, State.starting, State.cancelling, State.cancelled)
    answer = service.call("DELETE", f"/jobs/{needed}")
    assert (answer.status_code, words in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("path", ["/jobs", "/jobs?dry_run=true"])
def test_an_image_size_is_refused_where_images_have_a_fixed_one(service: Service, path: str) -> None:
    answer = service.post(path, EXPERT | {"dataset": {"name": "digits", "image_size": 32}})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["loc"] == ["dataset", "image_size"]
    assert error["msg"].endswith("the images of digits have a fixed size: remove it")


def test_changes_that_the_state_forbids_are_409_and_name_the_state(service: Service) -> None:
    job_id = service.submit()
    for verb in ("pause", "resume", "retry"):
        answer = service.post(f"/jobs/{job_id}/{verb}")
        assert answer.status_code == 409
        assert "is queued" in answer.json()["detail"]
    assert service.call("DELETE", f"/jobs/{job_id}").status_code == 409
    service.transition(job_id, State.starting, State.running)
    assert service.post(f"/jobs/{job_id}/pause").json()["state"] == "pausing"
    assert service.post(f"/jobs/{job_id}/pause").status_code == 409
    service.transition(job_id, State.paused)
    assert service.post(f"/jobs/{job_id}/resume").json()["state"] == "queued"
    service.transition(job_id, State.starting)
    assert service.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelling"
    # Its process has not ended: asking again does not make it so.
    again = service.post(f"/jobs/{job_id}/cancel")
    assert (again.status_code, "is cancelling" in again.json()["detail"]) == (409, True)
    assert "only waiting, queued, starting, running, pausing or paused jobs can" in again.json()["detail"]
    service.transition(job_id, State.cancelled)
    assert service.post(f"/jobs/{job_id}/cancel").status_code == 409
    assert service.post(f"/jobs/{job_id}/retry").json()["state"] == "queued"
    states = [event["data"]["state"] for event in service.get(f"/jobs/{job_id}/events").json()["items"]]
    assert states == [
        "queued", "starting", "running", "pausing", "paused", "queued", "starting", "cancelling", "cancelled", "queued",
    ]  # fmt: skip


def test_deletion_reports_the_bytes_freed_and_is_refused_while_others_need_the_job(service: Service) -> None:
    first = service.submit()
    second = service.submit(FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}]})
    folder = service.settings.runs_dir / first
    (folder / "components").mkdir(parents=True)
    (folder / "components/a").write_bytes(b"x" * 1000)
    (folder / "components/b").hardlink_to(folder / "components/a")
    service.transition(first, State.cancelled)
    answer = service.call("DELETE", f"/jobs/{first}")
    assert (answer.status_code, second in answer.json()["detail"]) == (409, True)
    service.transition(second, State.cancelled)
    assert service.call("DELETE", f"/jobs/{first}").json() == {"id": first, "bytes_freed": 1000}
    assert not folder.exists()
    assert service.get(f"/jobs/{first}").status_code == 404
    answer = service.post(f"/jobs/{second}/retry")
    assert (answer.status_code, f"there is no job {first}" in answer.json()["detail"]) == (409, True)
    assert service.get(f"/jobs/{second}").json()["state"] == "cancelled"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", ""])
def test_a_body_is_json_even_if_curl_labels_it_a_form(service: Service, kind: str) -> None:
    job_id = service.submit()
    service.transition(job_id, State.failed)
    headers = {"Content-Type": kind}
    answer = service.post(f"/jobs/{job_id}/retry", {"resources": {"cpus": 3}}, headers=headers)
    assert (answer.status_code, answer.json()["spec"]["resources"]["cpus"]) == (202, 3)
    assert service.post("/tokens", {"name": "laptop"}, headers=headers).status_code == 201
    answer = service.post("/tokens", b"{x", headers=headers)
    assert (answer.status_code, answer.json()["detail"][:24]) == (422, "body: is not valid JSON:")


def test_a_stored_evaluate_job_with_fields_of_training_is_retried(service: Service) -> None:
    source = service.submit(FUSION)

    def part(name: str) -> dict[str, Any]:
        return {"from": {"job": source, "component": name}}

    spec = {
        "kind": "evaluate",
        "experts": [part("expert_0"), part("expert_1")],
        "fusion": part("fusion"),
        "head": part("head"),
    }
    refused = service.post("/jobs", spec | {"training": {"stages": [{"epochs": 2}]}})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["training", "stages"])
    job_id = service.submit(spec)
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.spec = job.spec | {"training": job.spec["training"] | {"epochs": 3}}
    service.transition(job_id, State.cancelled)
    answer = service.post(f"/jobs/{job_id}/retry", {"resources": {"cpus": 1}})
    assert answer.status_code == 202, answer.text
    assert answer.json()["spec"]["training"]["epochs"] == 3
