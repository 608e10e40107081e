"""Sweeps over HTTP: one job per point, equal jobs reused, a leaderboard, retry and cancel."""

from __future__ import annotations

import csv
import io
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import now, transaction
from app.http import paging
from app.jobs.transitions import transition
from app.main import create_app
from app.models import Attempt, State
from app.settings import Settings
from app.sweeps.examples import EXAMPLES
from app.sweeps.queries import STOPPED_EARLY
from tests.app.api import EXPERT, FUSION, Service
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
    view,
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


def test_the_leaderboard_groups_seeds_and_puts_the_best_first(service: Service) -> None:
    grid = {"fusion.type": ["multiplicative", "concatenation", "simpleAddition"], "training.seed": [1, 2]}
    grid |= {"dataset.split.seed": [7, 8]}
    sweep_id = create(service, sweep(grid))["id"]
    ids = jobs(service, sweep_id)
    # Mean 0.5; the sample's deviation is sqrt((0.09 + 0.01 + 0.01 + 0.09) / 3).
    for job_id, value in zip(ids[:4], [0.2, 0.4, 0.6, 0.8], strict=True):
        measure(service, job_id, "val/accuracy_fused", value)
    measure(service, ids[9], "val/accuracy_fused", 0.7)
    measure(service, ids[9], "test/accuracy_fused", 0.65)
    rows = view(service, sweep_id)["leaderboard"]
    assert [row["values"]["fusion.type"] for row in rows] == ["simpleAddition", "multiplicative", "concatenation"]
    assert [list(row["values"]) for row in rows] == [["fusion.type"]] * 3
    assert rows[0] | {"jobs": None} == {
        "values": {"fusion.type": "simpleAddition"}, "n": 1, "mean": 0.7, "std": None, "best": ids[9], "jobs": None,
        "stopped_early": False, "low": None, "high": None, "test_accuracy": 0.65,
    }  # fmt: skip
    assert (rows[1]["n"], rows[1]["best"], rows[1]["jobs"]) == (4, ids[3], ids[:4])
    assert rows[1]["mean"] == pytest.approx(0.5)
    assert rows[1]["std"] == pytest.approx((0.2 / 3) ** 0.5)
    # Student's t with three degrees of freedom.
    half = 3.182446 * (0.2 / 3) ** 0.5 / 2
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((0.5 - half, 0.5 + half))
    assert rows[1]["test_accuracy"] is None
    assert (rows[2]["n"], rows[2]["mean"], rows[2]["std"], rows[2]["best"]) == (0, None, None, None)
    table = list(csv.reader(io.StringIO(service.get(f"/sweeps/{sweep_id}/leaderboard.csv").text)))
    assert table[0][:7] == ["rank", "fusion.type", "metric", "n", "mean", "std", "low"]
    assert table[0][7:] == ["high", "test_accuracy", "best", "stopped_early", "jobs"]
    assert table[1][:5] == ["1", "simpleAddition", "val/accuracy_fused", "1", "0.7"]
    assert table[1][5:] == ["", "", "", "0.65", ids[9], "false", " ".join(ids[8:12])]
    assert len(table) == 4


@pytest.mark.parametrize(
    ("metric", "mode", "values", "best", "means"),
    [
        # The best value so far counts for validation metrics, the latest for all others.
        ("val/accuracy_fused", None, ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.9, 0.7]),
        ("val/loss_global", None, ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.1, 0.5]),
        ("val/loss_global", "max", ([0.1, 0.9, 0.2], [0.5, 0.6, 0.7]), 0, [0.9, 0.7]),
        ("test/accuracy_oracle", None, ([0.9, 0.2], [0.5, 0.7]), 1, [0.7, 0.2]),
        ("test/nll", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        ("test/ece", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        ("test/disagreement", None, ([0.9], [0.5]), 1, [0.5, 0.9]),
        ("train/loss_total", None, ([0.9, 0.3], [0.1, 0.5]), 0, [0.3, 0.5]),
        ("test/nll", "max", ([0.9], [0.5]), 0, [0.9, 0.5]),
        ("test/accuracy_oracle", None, ([0.5, float("nan")], [0.1]), 1, [0.1, None]),
        ("test/nll", None, ([0.5, float("nan")], [0.1]), 1, [0.1, None]),
    ],
)
def test_a_leaderboard_is_by_any_metric(
    service: Service, metric: str, mode: str | None, values: Any, best: int, means: list[float | None]
) -> None:
    sweep_id = create(service, sweep({"fusion.type": TYPES}))["id"]
    for job_id, job_values in zip(jobs(service, sweep_id), values, strict=True):
        measure(service, job_id, metric, *job_values)
    answer = view(service, sweep_id, f"?metric={metric}" + (f"&mode={mode}" if mode else ""))
    assert [row["mean"] for row in answer["leaderboard"]] == means
    assert answer["leaderboard"][0]["values"] == {"fusion.type": TYPES[best]}
    assert answer["metric"] == metric
    if mode is None:
        by_point = [point["value"] for point in points(service, sweep_id, f"&metric={metric}")]
        assert by_point[best] == means[0]


def test_experts_are_compared_by_their_own_accuracy(service: Service) -> None:
    answer = create(service, {"base": EXPERT, "grid": {"training.seed": [1, 2]}})
    assert (answer["metric"], answer["mode"]) == ("val/accuracy_expert_0", "max")
    assert answer["leaderboard"][0]["values"] == {}


def test_points_reuse_equal_jobs(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 2}}, "alice")
    service.transition(by_hand, *SUCCEEDED)
    one = create(service, sweep({"training.seed": [1, 2]}))
    first, second = points(service, one["id"])
    assert (second["job"], second["reused"], second["state"]) == (by_hand, True, "succeeded")
    assert (first["reused"], one["reused"], one["counts"]["succeeded"]) == (False, 1, 1)
    # Unfinished jobs are reused too; of two equal points, the first creates the job.
    grid = {"training.seed": [1, 3], "fusion.type": ["simpleAddition", "additive", "multiplicative"]}
    preview = service.post("/sweeps?dry_run=true", sweep(grid)).json()
    assert (preview["count"], preview["new"], preview["reused"]) == (6, 3, 3)
    two = create(service, sweep(grid))
    items = points(service, two["id"])
    assert [point["reused"] for point in items] == [False, True, True, False, True, False]
    assert (items[2]["job"], items[0]["job"], items[3]["job"]) == (first["job"], items[1]["job"], items[4]["job"])
    assert [point["job"] for point in preview["points"]] == [None, None, first["job"], None, None, None]
    listed = {job["id"] for job in service.get(f"/jobs?sweep={two['id']}").json()["items"]}
    assert listed == {point["job"] for point in items}
    # With `fresh`, every point is trained.
    three = create(service, sweep({"training.seed": [1, 2]}, fresh=True))
    assert set(jobs(service, three["id"])).isdisjoint({by_hand, first["job"]})
    assert (three["reused"], three["counts"]["queued"]) == (0, 2)


@pytest.mark.parametrize("way", [(State.failed,), (State.cancelled,), (State.starting, State.cancelling)])
def test_failed_and_cancelled_jobs_are_not_reused(service: Service, way: tuple[State, ...]) -> None:
    job_id = service.submit(BASE)
    service.transition(job_id, *way)
    assert jobs(service, create(service, sweep({"training.seed": [42]}))["id"]) != [job_id]


def test_jobs_that_early_stopping_may_end_are_reused_only_once_they_have_succeeded(service: Service) -> None:
    one = create(service, sweep(early_stopping={}))
    assert one["early_stopping"] == {"metric": None, "mode": None, "min_epochs": 1, "reduction_factor": 3}
    ids = jobs(service, one["id"])
    service.transition(ids[0], *SUCCEEDED)
    two = points(service, create(service)["id"])
    assert [point["job"] in ids for point in two] == [True, *[False] * 5]


def test_a_retry_queues_failed_jobs_and_replaces_deleted_ones(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 9}})
    grid = {"training.seed": [1, 2, 3, 4, 5, 9]}
    sweep_id = create(service, sweep(grid), "alice")["id"]
    failed, gone, cancelled, early, fine, _ = jobs(service, sweep_id)
    service.transition(failed, State.failed)
    service.transition(by_hand, State.failed)
    service.transition(cancelled, State.cancelled)
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}", "alice").status_code == 200
    with transaction(service.app.state.engine) as session:
        transition(session, early, State.cancelled, message=f"{STOPPED_EARLY}because")
    service.transition(fine, State.starting)
    before = view(service, sweep_id)
    assert counts(service, sweep_id) == {"failed": 2, "cancelled": 2, "starting": 1}
    assert (before["missing"], before["count"], before["stopped_early"]) == (1, 6, 1)
    assert [point["state"] for point in points(service, sweep_id)][1] is None
    answer = service.post(f"/sweeps/{sweep_id}/retry", user="alice")
    assert answer.status_code == 202
    assert (answer.json()["counts"]["queued"], answer.json()["missing"]) == (4, 0)
    items = points(service, sweep_id)
    assert [point["state"] for point in items] == ["queued", "queued", "queued", "cancelled", "starting", "queued"]
    assert [point["job"] for point in items][0::2] == [failed, cancelled, fine]
    assert [point["stopped_early"] for point in items] == [False] * 3 + [True] + [False] * 2
    # The reused job is left alone; its point gets a job of the sweep.
    assert service.get(f"/jobs/{by_hand}").json()["state"] == "failed"
    for number, seed in ((1, 2), (5, 9)):
        job = service.get(f"/jobs/{items[number]['job']}").json()
        assert (job["id"] not in (gone, by_hand), job["owner"]) == (True, "alice")
        assert (job["spec"]["training"]["seed"], job["name"]) == (seed, f"base seed={seed}")
    assert [point["reused"] for point in items] == [False] * 6
    again = service.post(f"/sweeps/{sweep_id}/retry", user="alice").json()
    assert (again["counts"], jobs(service, sweep_id)) == (answer.json()["counts"], [point["job"] for point in items])


def test_two_sweeps_that_lost_the_same_job_train_it_once(service: Service) -> None:
    grid = {"training.seed": [1, 2]}
    first, second = (create(service, sweep(grid))["id"] for _ in range(2))
    gone = jobs(service, first)[1]
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}").status_code == 200
    for sweep_id in (first, second):
        assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["queued"] == 2
    assert jobs(service, first) == jobs(service, second)


def test_a_retry_names_the_job_that_has_to_be_retried_first(service: Service) -> None:
    source = service.submit()
    base = BASE | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    sweep_id = create(service, {"base": base, "grid": {"training.seed": [1]}})["id"]
    [job_id] = jobs(service, sweep_id)
    assert service.get(f"/jobs/{job_id}").json()["waits_for"] == [source]
    for ended in (source, job_id):
        service.transition(ended, State.failed)
    answer = service.post(f"/sweeps/{sweep_id}/retry")
    assert (answer.status_code, source in answer.json()["detail"]) == (409, True)
    service.post(f"/jobs/{source}/retry")
    assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["waiting"] == 1


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
