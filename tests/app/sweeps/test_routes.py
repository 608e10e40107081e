"""Sweeps over HTTP: one job per point, dry runs with an estimate, cancel, pages, and who may do what."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import now, transaction
from app.http import paging
from app.main import create_app
from app.models import Attempt, State
from app.settings import Settings
from app.sweeps.examples import EXAMPLES
from tests.app.api import FUSION, Service
from tests.app.sweeps.sweeping import (
    BASE,
    GRID,
    SUCCEEDED,
    TYPES,
    counts,
    create,
    jobs,
    measure,
    points,
    statements,
    sweep,
)


def test_every_point_of_a_grid_becomes_a_job(service: Service) -> None:
    answer = create(service, sweep(max_parallel=2, tags=["b"]))
    assert (answer["name"], answer["owner"], answer["count"], answer["max_parallel"]) == ("s", "admin", 6, 2)
    assert (answer["grid"], answer["base"]) == (GRID, BASE | {"tags": ["a", "b"]})
    assert answer["counts"] == {state.value: 6 if state is State.queued else 0 for state in State}
    items = points(service, answer["id"])
    assert [point["number"] for point in items] == list(range(6))
    assert [(point["values"]["fusion.type"], point["values"]["training.seed"]) for point in items] == [
        (kind, seed) for kind in TYPES for seed in (1, 2, 3)
    ]
    assert {(point["state"], point["reused"], point["value"]) for point in items} == {("queued", False, None)}
    for point in items:
        job = service.get(f"/jobs/{point['job']}").json()
        kind, seed = point["values"].values()
        assert (job["spec"]["fusion"]["type"], job["spec"]["training"]["seed"]) == (kind, seed)
        assert (job["name"], job["tags"]) == (f"base type={kind} seed={seed}", ["a", "b"])
        [first] = service.get(f"/jobs/{point['job']}/events").json()["items"]
        assert (first["type"], first["data"]["state"]) == ("state", "queued")
    listed = service.get(f"/jobs?sweep={answer['id']}&sort=created_at").json()["items"]
    # In the order of the points, which is also the order in which they start.
    assert [job["id"] for job in listed] == [point["job"] for point in items]


def test_list_indices_and_whole_parts_can_be_swept(service: Service) -> None:
    base = FUSION | {"experts": [{"arch": "convnet_small"}, {"arch": "convnet_small"}]}
    grid = {
        "experts.1.feature_dim": [8, 16],
        "dataset.split": [{"regime": "full"}, {"regime": "iid", "num_shards": 2}],
        "training.augmentation": ["none"],
    }
    answer = service.post("/sweeps?dry_run=true", {"base": base, "grid": grid}).json()
    specs = answer["specs"]
    dims = [[expert["feature_dim"] for expert in spec["experts"]] for spec in specs]
    assert dims == [[None, 8], [None, 8], [None, 16], [None, 16]]
    assert [spec["dataset"]["split"]["regime"] for spec in specs] == ["full", "iid"] * 2
    assert answer["points"][1]["name"].startswith('feature_dim=8 split={"regime": "iid"')


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_openapi_description_can_be_posted(service: Service, name: str) -> None:
    shown = service.get("/openapi.json").json()["paths"]["/sweeps"]["post"]["requestBody"]["content"]
    create(service, shown["application/json"]["examples"][name]["value"])


def test_a_dry_run_stores_nothing(service: Service) -> None:
    with statements(service) as executed:
        answer = service.post("/sweeps?dry_run=true", sweep()).json()
    assert not [statement for statement in executed if not statement.lstrip().upper().startswith("SELECT")]
    assert (answer["count"], answer["new"], answer["reused"]) == (6, 6, 0)
    assert [spec["training"]["seed"] for spec in answer["specs"]] == [1, 2, 3] * 2
    assert answer["specs"][0]["training"]["loss"]["distillation_weight"] == 0.1
    assert answer["estimate"]["gpu_hours"] is None
    assert "6 of 6 new points" in answer["estimate"]["why"]
    assert service.get("/sweeps").json()["items"] == service.get("/jobs").json()["items"] == []


def test_the_estimate_extrapolates_from_the_time_per_epoch_of_similar_jobs(service: Service) -> None:
    for epochs, hours, kind in ((2, 1.0, "multiplicative"), (4, 4.0, "concatenation")):
        job_id = service.submit(FUSION | {"training": {"epochs": epochs}, "fusion": {"type": kind}})
        service.transition(job_id, *SUCCEEDED)
        with transaction(service.app.state.engine) as session:
            # Two attempts, each on two devices.
            for number in (1, 2):
                began, ended = now() - timedelta(hours=hours / 4), now()
                columns: Any = {"executor": "local", "host": "here", "devices": ["0", "1"]}
                session.add(Attempt(job_id=job_id, number=number, started_at=began, ended_at=ended, **columns))
    grid = {"training.epochs": [10, 20], "fusion.type": ["simpleAddition"]}
    estimate = service.post("/sweeps?dry_run=true", sweep(grid)).json()["estimate"]
    # 0.5 and 1 hours per epoch, 30 epochs.
    assert (estimate["gpu_hours"], estimate["based_on"]) == (pytest.approx(22.5, rel=1e-3), 2)
    other = {"experts.0.arch": ["convnet_small", "resnet18"]}
    estimate = service.post("/sweeps?dry_run=true", sweep(other)).json()["estimate"]
    assert (estimate["gpu_hours"], "1 of 1 new points" in estimate["why"]) == (None, True)


def test_jobs_on_slurm_are_no_basis_of_an_estimate(service: Service) -> None:
    job_id = service.submit(FUSION)
    service.transition(job_id, *SUCCEEDED)
    with transaction(service.app.state.engine) as session:
        columns: Any = {"executor": "slurm", "host": "node1", "devices": []}
        began, ended = now() - timedelta(hours=1), now()
        session.add(Attempt(job_id=job_id, number=1, started_at=began, ended_at=ended, **columns))
    estimate = service.post("/sweeps?dry_run=true", sweep({"training.epochs": [10]})).json()["estimate"]
    assert estimate["gpu_hours"] is None


def test_cancelling_a_sweep_cancels_only_the_jobs_that_it_created(service: Service) -> None:
    one = create(service, sweep({"training.seed": [1, 2, 3]}))["id"]
    two = create(service, sweep({"training.seed": [3, 4, 5, 6]}))["id"]
    shared, running, done, queued = jobs(service, two)
    service.transition(running, State.starting, State.running)
    service.transition(done, *SUCCEEDED)
    answer = service.post(f"/sweeps/{two}/cancel")
    assert answer.status_code == 202
    states = {point["job"]: point["state"] for point in points(service, two)}
    assert states == {shared: "queued", running: "cancelling", done: "succeeded", queued: "cancelled"}
    assert counts(service, one) == {"queued": 3}
    assert service.get(f"/jobs/{queued}").json()["reason"] == "user"
    assert service.post(f"/sweeps/{two}/cancel").json()["counts"] == answer.json()["counts"]


def test_the_same_idempotency_key_and_body_create_one_sweep(service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    first, again = (service.post("/sweeps", sweep(), headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = service.post("/sweeps", sweep(max_parallel=1), headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "idempotency-mismatch")
    assert service.post("/sweeps", sweep(), "alice", headers=key).status_code == 201
    assert len(service.get("/jobs").json()["items"]) == 6


def test_members_see_all_and_change_only_their_own(service: Service) -> None:
    sweep_id = create(service, user="alice")["id"]
    assert service.post("/sweeps", sweep(), "eve").status_code == 403
    for path in ("", "/points", "/leaderboard.csv"):
        assert service.get(f"/sweeps/{sweep_id}{path}", "eve").status_code == 200
    for verb in ("cancel", "retry"):
        assert service.post(f"/sweeps/{sweep_id}/{verb}", user="eve").status_code == 403
        answer = service.post(f"/sweeps/{sweep_id}/{verb}", user="bob")
        assert (answer.status_code, "belongs to alice" in answer.json()["detail"]) == (403, True)
        assert service.post(f"/sweeps/{sweep_id}/{verb}", user="admin").status_code == 202
        assert service.post(f"/sweeps/swp_none/{verb}").status_code == 404
    assert {job["owner"] for job in service.get("/jobs").json()["items"]} == {"alice"}


def test_sweeps_are_listed_by_pages_newest_first(service: Service) -> None:
    ids = [create(service, sweep({"training.seed": [seed]}))["id"] for seed in range(5)]
    first = service.get("/sweeps?limit=3").json()
    rest = service.get(f"/sweeps?limit=3&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert (first["items"][0]["count"], first["items"][0]["counts"]["queued"]) == (1, 1)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sweeps?cursor=x", 422), ("/sweeps?limit=0", 422), ("/sweeps/swp_none", 404), ("/sweeps/%00", 404),
        ("/sweeps/" + "x" * 100, 422), ("/sweeps/{id}?mode=most", 422), ("/sweeps/{id}?metric=%00", 422),
        ("/sweeps/{id}/points?cursor=WyJ4Il0", 422), ("/sweeps/swp_none/points", 404),
        ("/sweeps/swp_none/leaderboard.csv", 404), ("/sweeps/{id}?metric=nothing", 200),
    ],
)  # fmt: skip
def test_invalid_paths_and_parameters_are_refused(shared_service: Service, path: str, status: int) -> None:
    answer = shared_service.get(path.replace("{id}", create(shared_service)["id"]))
    assert answer.status_code == status
    assert status == 200 or answer.json()["detail"]


def test_hundreds_of_points_are_stored_in_a_few_statements(service: Service) -> None:
    source = service.submit()
    base = BASE | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    body = {"base": base, "grid": {"training.seed": list(range(60)), "training.loss.lambda_individual": [*range(10)]}}
    began = time.monotonic()
    with statements(service) as executed:
        answer = create(service, body)
    print(f"600 points in {time.monotonic() - began:.2f} s")
    assert answer["counts"]["waiting"] == 600
    # A reference is looked up once, not once per point.
    assert len(executed) < 30
    assert len([row for row in answer["leaderboard"] if len(row["jobs"]) == 60]) == 10
    began = time.monotonic()
    assert service.post(f"/sweeps/{answer['id']}/cancel").json()["counts"]["cancelled"] == 600
    print(f"cancelled in {time.monotonic() - began:.2f} s")


def test_a_sweep_works_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=postgres_url)
    application = create_app(settings)
    with TestClient(application, raise_server_exceptions=False) as http:
        tokens = {"admin": (settings.data_dir / "admin-token").read_text().strip()}
        service = Service(settings, application, http, tokens)
        key = {"Idempotency-Key": "k1"}
        one = service.post("/sweeps", sweep(early_stopping={}), headers=key).json()
        assert service.post("/sweeps", sweep(early_stopping={}), headers=key).json() == one
        ids = jobs(service, one["id"])
        service.transition(ids[0], *SUCCEEDED)
        service.transition(ids[1], State.starting, State.failed)
        measure(service, ids[0], "val/accuracy_fused", 0.5)
        assert service.post("/sweeps?dry_run=true", sweep()).json()["reused"] == 1
        two = create(service)
        assert (two["reused"], two["leaderboard"][0]["mean"]) == (1, 0.5)
        assert {job["id"] for job in service.get(f"/jobs?sweep={two['id']}").json()["items"]} > {ids[0]}
        assert service.post(f"/sweeps/{one['id']}/retry").json()["counts"]["queued"] == 5
        assert service.post(f"/sweeps/{one['id']}/cancel").json()["counts"]["cancelled"] == 5
        assert service.call("DELETE", f"/jobs/{ids[1]}").status_code == 200
        assert [row["missing"] for row in service.get("/sweeps").json()["items"]] == [0, 1]
        assert service.get(f"/sweeps/{one['id']}/points?cursor={paging.encode(2**40)}").json()["items"] == []
        assert service.post(f"/sweeps/{one['id']}/retry").json()["counts"]["queued"] == 5
        assert len(service.get(f"/sweeps/{one['id']}/leaderboard.csv").text.splitlines()) == 3


def test_points_per_task_is_stored_and_shown(service: Service) -> None:
    assert create(service, sweep(points_per_task=7))["points_per_task"] == 7
    assert create(service)["points_per_task"] == 1
    assert [row["points_per_task"] for row in service.get("/sweeps").json()["items"]] == [1, 7]
