"""What people and programs send by mistake, and the answer each gets: never a 5xx, never an echo, always a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.api import EXPERT, FUSION, Service

SECRET = "s3cr3t-value"


def spec(**changes: Any) -> bytes:
    return json.dumps(EXPERT | changes).encode()


def training(**changes: Any) -> bytes:
    return spec(training=changes)


BODIES: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 422),
    ("not JSON", b"{", 422),
    ("not UTF-8", b"\xff\xfe", 422),
    ("a list", b"[]", 422),
    ("a number", b"3", 422),
    ("null", b"null", 422),
    ("a string", b'"job"', 422),
    ("no kind", b"{}", 422),
    ("an unknown kind", spec(kind=SECRET), 422),
    ("kind is a list", spec(kind=["expert"]), 422),
    ("an unknown field", spec(epochs=SECRET), 422),
    ("an unknown nested field", training(epoch=1), 422),
    ("NaN", b'{"kind": "expert", "expert": {"arch": "convnet_small"}, "training": {"seed": NaN}}', 422),
    ("Infinity", b'{"kind": "expert", "expert": {"arch": "convnet_small"}, "priority": Infinity}', 422),
    ("1e999", b'{"kind": "expert", "expert": {"arch": "convnet_small"}, "training": {"clip_norm": 1e999}}', 422),
    ("a huge integer", training(seed=10**400), 422),
    ("a number of 5,000 digits", b'{"kind": "expert", "priority": ' + b"9" * 5000 + b"}", 422),
    ("a lone surrogate", b'{"kind": "expert", "expert": {"arch": "convnet_small"}, "name": "\\ud800"}', 422),
    ("a surrogate as a key", b'{"kind": "expert", "\\udfff": 1}', 422),
    ("NUL in a name", spec(name="a\0b"), 422),
    ("a newline in a name", spec(name="a\nb"), 422),
    ("a name of 10,000 characters", spec(name="n" * 10_000), 422),
    ("a name that is a number", spec(name=3), 422),
    ("a tag with a blank", spec(tags=["a b"]), 422),
    ("a tag with a slash", spec(tags=["../x"]), 422),
    ("tags as a string", spec(tags="a"), 422),
    ("a thousand tags", spec(tags=["t"] * 1000), 422),
    ("a string for a number", training(epochs="3"), 422),
    ("true for a number", training(epochs=True), 422),
    ("a fraction for a count", training(epochs=1.5), 422),
    ("zero epochs", training(epochs=0), 422),
    ("a billion epochs", training(epochs=10**9), 422),
    ("a negative rate", training(components={"experts": {"lr": -1.0}}), 422),
    ("an unknown optimizer", training(components={"experts": {"optimizer": SECRET}}), 422),
    ("an unknown schedule", training(components={"experts": {"schedule": SECRET}}), 422),
    ("everything frozen", training(components={"experts": {"frozen": True}}), 422),
    ("an unknown architecture", spec(expert={"arch": SECRET}), 422),
    ("no architecture", spec(expert={}), 422),
    ("a shard that is not there", spec(expert={"arch": "convnet_small", "shard": 3}), 422),
    ("an unknown data set", spec(dataset={"name": SECRET}), 422),
    ("a data set outside the roots", spec(dataset={"name": "npz:/etc/passwd"}), 422),
    ("a data set by ..", spec(dataset={"name": "npz:../../etc/passwd"}), 422),
    ("NUL in a path", spec(dataset={"name": "npz:a\0b"}), 422),
    ("a hold-out of everything", spec(dataset={"split": {"regime": "iid", "num_shards": 2, "holdout": 1.0}}), 422),
    ("no experts", json.dumps(FUSION | {"experts": []}).encode(), 422),
    ("65 experts", json.dumps(FUSION | {"num_experts": 65}).encode(), 422),
    ("counts that differ", json.dumps(FUSION | {"experts": [{"arch": "convnet_small"}] * 3}).encode(), 422),
    ("an unknown fusion", json.dumps(FUSION | {"fusion": {"type": SECRET}}).encode(), 422),
    ("a component of nowhere", json.dumps(FUSION | {"fusion": {"from": {"job": "job_1"}}}).encode(), 422),
    ("a component by file", json.dumps(FUSION | {"fusion": {"from": {"path": "/etc/passwd"}}}).encode(), 422),
    ("two ways to name one", json.dumps(FUSION | {"fusion": {"from": {"path": "x", "component": "y"}}}).encode(), 422),
    ("a command as a partition", spec(resources={"slurm": {"partition": "a; rm -rf /"}}), 422),
    ("an option as an account", spec(resources={"slurm": {"account": "--wrap=x"}}), 422),
    ("two nodes of this machine", spec(resources={"nodes": 2}), 422),
    ("Slurm without a time limit", spec(resources={"executor": "slurm"}), 422),
    ("minus one GPU", spec(resources={"gpus": -1}), 422),
    ("an unknown executor", spec(resources={"executor": SECRET}), 422),
    ("nested 100 deep", b'{"kind":' * 100 + b"1" + b"}" * 100, 422),
    ("nested 100,000 deep", b"[" * 100_000, 422),
    ("2 MiB", spec(name="n" * (2 << 20)), 413),
]


@pytest.mark.parametrize(("body", "status"), [body[1:] for body in BODIES], ids=[body[0] for body in BODIES])
def test_a_body_that_cannot_be_is_refused_in_a_sentence(shared_service: Service, body: bytes, status: int) -> None:
    before = shared_service.get("/jobs").json()
    answer = shared_service.post("/jobs", body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"]
    assert len(problem["detail"]) > 10
    assert SECRET not in answer.text.replace("did you mean", "")
    assert "Traceback" not in answer.text
    assert shared_service.get("/jobs").json() == before


REQUESTS: list[tuple[str, str, int]] = [
    ("GET", "/jobs/job_nothing", 404),
    ("GET", "/jobs/..%2f..%2fetc%2fpasswd", 404),
    ("GET", "/jobs/%00", 404),
    ("GET", "/jobs/%ed%a0%80", 404),
    ("GET", "/jobs/" + "x" * 5000, 422),
    ("GET", "/jobs?limit=0", 422),
    ("GET", "/jobs?creator=alice", 422),
    ("GET", "/jobs?owner=%00", 422),
    ("GET", "/jobs?sort=score", 422),
    ("GET", "/jobs?fields=everything", 422),
    ("GET", "/jobs?sort=-score&cursor=WyItc2NvcmUiLCAiYSIsICJiIl0", 422),
    ("GET", "/jobs?sort=-score&cursor=WyItc2NvcmUiLCBOYU4sICJiIl0", 422),
    ("GET", "/jobs/counts?state=queued", 422),
    ("GET", "/series", 422),
    ("GET", "/series?job={id}", 422),
    ("GET", "/series?job=job_nothing&key=a", 404),
    ("GET", "/series?job=%00&key=a", 404),
    ("GET", "/series?job={id}&key=a&points=0", 422),
    ("GET", "/series?job={id}&key=a&to_step=-1", 422),
    ("GET", "/series?key=a" + "&job={id}" * 21, 422),
    ("GET", "/series?job={id}" + "&key=a" * 101, 422),
    ("GET", "/events?job=job_nothing", 404),
    ("GET", "/events?job=%ed%a0%80", 404),
    ("GET", "/events?type=happy", 422),
    ("GET", "/events?last_event_id=-1", 422),
    ("GET", "/components?role=x", 422),
    ("GET", "/components?arch=%00", 422),
    ("GET", "/components?sort=score", 422),
    ("GET", "/components?cursor=garbage", 422),
    ("GET", "/components?cursor=WyJ5ZXN0ZXJkYXkiLCAiYiJd", 422),
    ("GET", "/components/cmp_nothing", 404),
    ("GET", "/components/%00", 404),
    ("GET", "/readyz?x=1", 422),
    ("GET", "/jobs?limit=201", 422),
    ("GET", "/jobs?limit=ten", 422),
    ("GET", "/jobs?state=happy", 422),
    ("GET", "/jobs?kind=x", 422),
    ("GET", "/jobs?sort=id%3B--", 422),
    ("GET", "/jobs?cursor=garbage", 422),
    ("GET", "/jobs?cursor=WyItY3JlYXRlZF9hdCIsIDFd", 422),
    ("GET", "/jobs?cursor=bnVsbA", 422),
    ("GET", "/jobs?q=%00", 422),
    ("GET", "/jobs?tag=%0a", 422),
    ("PUT", "/jobs", 405),
    ("GET", "/nothing/here", 404),
    ("GET", "/jobs/{id}/components/expert_0", 404),
    ("GET", "/jobs/{id}/components/..%2f..%2fadmin-token", 404),
    ("GET", "/jobs/{id}/components/expert_0?format=exe", 422),
    ("GET", "/jobs/{id}/metrics/series", 422),
    ("GET", "/jobs/{id}/metrics/series?key=nothing", 404),
    ("GET", "/jobs/{id}/metrics/series?key=%00", 404),
    ("GET", "/jobs/{id}/metrics/series?key=a&points=0", 422),
    ("GET", "/jobs/{id}/metrics/series?key=a&from_step=-1", 422),
    ("GET", "/jobs/{id}/logs?tail=-1", 422),
    ("GET", "/jobs/{id}/events?cursor=x", 422),
    ("GET", "/jobs/{id}/events?type=happy", 422),
    ("GET", "/jobs/job_nothing/explain", 404),
    ("GET", "/jobs/job_nothing/ledger", 404),
    ("GET", "/jobs/job_nothing/result", 404),
    ("GET", "/jobs/{id}/result", 404),
    ("GET", "/jobs/{id}/explain?x=1", 422),
    ("GET", "/jobs/{id}/logs?at=-1", 422),
    ("GET", "/jobs/{id}/logs?at=9223372036854775808", 422),
    ("GET", "/jobs/{id}/logs?at=0&bytes=0", 422),
    ("GET", "/jobs/{id}/logs?at=0&bytes=4194305", 422),
    ("GET", "/jobs/{id}/logs?at=0&follow=true", 422),
    ("GET", "/jobs/{id}/logs?at=0&attempt=1", 404),
    ("GET", "/jobs/{id}/logs/search", 422),
    ("GET", "/jobs/{id}/logs/search?q=", 422),
    ("GET", "/jobs/{id}/logs/search?q=%00", 422),
    ("GET", "/jobs/{id}/logs/search?q=a&after=-1", 422),
    ("GET", "/jobs/{id}/logs/search?q=a&attempt=2", 404),
    ("GET", "/usage?days=0", 422),
    ("GET", "/usage?days=3651", 422),
    ("GET", "/usage?month=2026-00", 422),
    ("PUT", "/quotas/alice", 422),
    ("DELETE", "/quotas/nobody", 404),
    ("DELETE", "/tokens/%00", 404),
    ("POST", "/tokens", 422),
]


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS)
def test_a_request_that_cannot_be_is_refused_in_a_sentence(
    shared_service: Service, method: str, path: str, status: int
) -> None:
    answer = shared_service.call(method, path.replace("{id}", shared_service.submit()))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Last-Event-ID", "x"),
        ("Last-Event-ID", "-1"),
        ("Last-Event-ID", "9" * 40),
        ("Idempotency-Key", "k" * 300),
        ("Idempotency-Key", ""),
    ],
)
def test_headers_that_cannot_be_are_refused(shared_service: Service, name: str, value: str) -> None:
    job_id = shared_service.submit()
    if name == "Idempotency-Key":
        answer = shared_service.post("/jobs", EXPERT, headers={name: value})
    else:
        answer = shared_service.get(f"/jobs/{job_id}/events", headers={name: value})
    assert answer.status_code == 422


def test_an_integer_that_is_too_long_is_named_without_a_hint_for_programmers(shared_service: Service) -> None:
    detail = shared_service.post("/jobs", b'{"priority": ' + b"9" * 5000 + b"}").json()["detail"]
    assert detail == "the body is not JSON: it has an integer of more than 4,300 digits"


def test_a_body_without_a_length_is_counted_as_it_comes(service: Service) -> None:
    blocks = (b"x" * 65_536 for _ in range(64))
    headers = {"Authorization": f"Bearer {service.tokens['admin']}"}
    answer = service.http.post("/jobs", content=blocks, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_at_least_sixty_mistakes_are_tried() -> None:
    assert len(BODIES) + len(REQUESTS) >= 60
