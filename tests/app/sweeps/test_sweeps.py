"""Sweeps over HTTP: a job a point, what is there already recognised, the best first, mistakes told by field."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from app.db import now, transaction
from app.jobs.digest import digest
from app.jobs.transitions import transition
from app.main import create_app
from app.metrics import store
from app.models import Attempt, State
from app.settings import Settings
from app.sweeps.examples import EXAMPLES
from app.sweeps.queries import STOPPED_EARLY
from core.spec import parse_spec, resolve
from core.spec.load import set_value
from tests.app.api import EXPERT, FUSION, Service
from tests.e2e.running import ROOT, Running

SECRET = "s3cr3t-value"
TYPES = ["multiplicative", "concatenation"]
BASE = FUSION | {"name": "base", "tags": ["a"], "training": {"epochs": 2}}
GRID: dict[str, list[Any]] = {"fusion.type": TYPES, "training.seed": [1, 2, 3]}
SUCCEEDED = (State.starting, State.running, State.succeeded)


def sweep(grid: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "s", "base": BASE, "grid": GRID if grid is None else grid, **more}


def made(service: Service, body: dict[str, Any] | None = None, user: str = "admin") -> dict[str, Any]:
    answer = service.post("/sweeps", body or sweep(), user)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/sweeps/{answer.json()['id']}"
    return dict(answer.json())


def shown(service: Service, sweep_id: str, query: str = "") -> dict[str, Any]:
    answer = service.get(f"/sweeps/{sweep_id}{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def points(service: Service, sweep_id: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = service.get(f"/sweeps/{sweep_id}/points?limit=4{query}{cursor}").json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def jobs(service: Service, sweep_id: str) -> list[str]:
    return [str(point["job"]) for point in points(service, sweep_id)]


def measure(service: Service, job_id: str, key: str, *values: float) -> None:
    steps = np.arange(1, len(values) + 1, dtype=np.int64)
    with transaction(service.app.state.engine) as session:
        store.append(session, job_id, {key: store.Block(steps, np.array(values), steps.astype(float))})


def counts(service: Service, sweep_id: str) -> dict[str, int]:
    return {state: count for state, count in shown(service, sweep_id)["counts"].items() if count}


@contextmanager
def statements(service: Service) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    said: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    engine = service.app.state.engine
    event.listen(engine, "before_cursor_execute", hear)
    yield said
    event.remove(engine, "before_cursor_execute", hear)


def test_a_grid_becomes_a_job_a_point(service: Service) -> None:
    answer = made(service, sweep(max_parallel=2, tags=["b"]))
    assert (answer["name"], answer["owner"], answer["count"], answer["max_parallel"]) == ("s", "admin", 6, 2)
    assert (answer["grid"], answer["base"]) == (GRID, BASE | {"tags": ["a", "b"]})
    assert answer["counts"] == {state.value: 6 if state is State.queued else 0 for state in State}
    its = points(service, answer["id"])
    assert [point["number"] for point in its] == list(range(6))
    assert [(point["values"]["fusion.type"], point["values"]["training.seed"]) for point in its] == [
        (kind, seed) for kind in TYPES for seed in (1, 2, 3)
    ]
    assert {(point["state"], point["reused"], point["value"]) for point in its} == {("queued", False, None)}
    for point in its:
        job = service.get(f"/jobs/{point['job']}").json()
        kind, seed = point["values"].values()
        assert (job["spec"]["fusion"]["type"], job["spec"]["training"]["seed"]) == (kind, seed)
        assert (job["name"], job["tags"]) == (f"base type={kind} seed={seed}", ["a", "b"])
        [first] = service.get(f"/jobs/{point['job']}/events").json()["items"]
        assert (first["type"], first["data"]["state"]) == ("state", "queued")
    listed = service.get(f"/jobs?sweep={answer['id']}&sort=created_at").json()["items"]
    # In the order of the points, in which they are started as well.
    assert [job["id"] for job in listed] == [point["job"] for point in its]


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
def test_the_descriptions_examples_can_be_posted(service: Service, name: str) -> None:
    shown = service.get("/openapi.json").json()["paths"]["/sweeps"]["post"]["requestBody"]["content"]
    made(service, shown["application/json"]["examples"][name]["value"])


def test_a_dry_run_stores_nothing(service: Service) -> None:
    with statements(service) as said:
        answer = service.post("/sweeps?dry_run=true", sweep()).json()
    assert not [statement for statement in said if not statement.lstrip().upper().startswith("SELECT")]
    assert (answer["count"], answer["new"], answer["reused"]) == (6, 6, 0)
    assert [spec["training"]["seed"] for spec in answer["specs"]] == [1, 2, 3] * 2
    assert answer["specs"][0]["training"]["loss"]["distillation_weight"] == 0.1
    assert answer["estimate"]["gpu_hours"] is None
    assert "6 of 6 new points" in answer["estimate"]["why"]
    assert service.get("/sweeps").json()["items"] == service.get("/jobs").json()["items"] == []


def test_an_estimate_goes_by_what_an_epoch_took_before(service: Service) -> None:
    for epochs, hours, kind in ((2, 1.0, "multiplicative"), (4, 4.0, "concatenation")):
        job_id = service.submit(FUSION | {"training": {"epochs": epochs}, "fusion": {"type": kind}})
        service.transition(job_id, *SUCCEEDED)
        with transaction(service.app.state.engine) as session:
            # In two attempts, on two devices each.
            for number in (1, 2):
                began, ended = now() - timedelta(hours=hours / 4), now()
                its: Any = {"executor": "local", "host": "here", "devices": ["0", "1"]}
                session.add(Attempt(job_id=job_id, number=number, started_at=began, ended_at=ended, **its))
    grid = {"training.epochs": [10, 20], "fusion.type": ["simpleAddition"]}
    told = service.post("/sweeps?dry_run=true", sweep(grid)).json()["estimate"]
    # 0.5 and 1 hours an epoch, 30 epochs.
    assert (told["gpu_hours"], told["based_on"]) == (pytest.approx(22.5, rel=1e-3), 2)
    other = {"experts.0.arch": ["convnet_small", "resnet18"]}
    told = service.post("/sweeps?dry_run=true", sweep(other)).json()["estimate"]
    assert (told["gpu_hours"], "1 of 1 new points" in told["why"]) == (None, True)


def test_the_leaderboard_groups_seeds_and_puts_the_best_first(service: Service) -> None:
    grid = {"fusion.type": ["multiplicative", "concatenation", "simpleAddition"], "training.seed": [1, 2]}
    grid |= {"dataset.split.seed": [7, 8]}
    sweep_id = made(service, sweep(grid))["id"]
    its = jobs(service, sweep_id)
    # Mean 0.5; the sample's deviation is sqrt((0.09 + 0.01 + 0.01 + 0.09) / 3).
    for job_id, value in zip(its[:4], [0.2, 0.4, 0.6, 0.8], strict=True):
        measure(service, job_id, "test/accuracy_fused", value)
    measure(service, its[9], "test/accuracy_fused", 0.7)
    rows = shown(service, sweep_id)["leaderboard"]
    assert [row["values"]["fusion.type"] for row in rows] == ["simpleAddition", "multiplicative", "concatenation"]
    assert [list(row["values"]) for row in rows] == [["fusion.type"]] * 3
    assert rows[0] | {"jobs": None} == {
        "values": {"fusion.type": "simpleAddition"}, "n": 1, "mean": 0.7, "std": None, "best": its[9], "jobs": None,
        "stopped_early": False,
    }  # fmt: skip
    assert (rows[1]["n"], rows[1]["best"], rows[1]["jobs"]) == (4, its[3], its[:4])
    assert rows[1]["mean"] == pytest.approx(0.5)
    assert rows[1]["std"] == pytest.approx((0.2 / 3) ** 0.5)
    assert (rows[2]["n"], rows[2]["mean"], rows[2]["std"], rows[2]["best"]) == (0, None, None, None)
    table = list(csv.reader(io.StringIO(service.get(f"/sweeps/{sweep_id}/leaderboard.csv").text)))
    assert table[0] == ["rank", "fusion.type", "n", "mean", "std", "best", "stopped_early", "jobs"]
    assert table[1] == ["1", "simpleAddition", "1", "0.7", "", its[9], "false", " ".join(its[8:12])]
    assert len(table) == 4


@pytest.mark.parametrize(
    ("metric", "mode", "values", "best", "means"),
    [
        # Of validation the best so far counts, of all else the latest.
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
    sweep_id = made(service, sweep({"fusion.type": TYPES}))["id"]
    for job_id, its in zip(jobs(service, sweep_id), values, strict=True):
        measure(service, job_id, metric, *its)
    answer = shown(service, sweep_id, f"?metric={metric}" + (f"&mode={mode}" if mode else ""))
    assert [row["mean"] for row in answer["leaderboard"]] == means
    assert answer["leaderboard"][0]["values"] == {"fusion.type": TYPES[best]}
    assert answer["metric"] == metric
    if mode is None:
        by_point = [point["value"] for point in points(service, sweep_id, f"&metric={metric}")]
        assert by_point[best] == means[0]


def test_experts_are_compared_by_their_own_accuracy(service: Service) -> None:
    answer = made(service, {"base": EXPERT, "grid": {"training.seed": [1, 2]}})
    assert (answer["metric"], answer["mode"]) == ("test/accuracy_expert_0", "max")
    assert answer["leaderboard"][0]["values"] == {}


SAME = [
    {"name": "another"}, {"tags": ["x"]}, {"priority": 3}, {"max_attempts": 9}, {"checkpoint": {"keep": 5}},
    {"tracking": {"wandb": {"mode": "offline"}}}, {"resources": {"memory_gb": 3, "time_limit_min": 9}},
    {"resources": {"slurm": {"partition": "p"}}}, {"fusion": {"type": "multiplicative"}}, {"num_experts": 2},
    {"training": {"epochs": 2, "seed": 42, "loss": {"alpha": 1}}},
]  # fmt: skip
OTHER = [
    {"resources": {"cpus": 3}}, {"resources": {"gpus": 1}}, {"resources": {"nodes": 2}}, {"training": {"epochs": 3}},
    {"training": {"epochs": 2, "seed": 1}}, {"fusion": {"type": "concatenation"}}, {"num_experts": 3},
    {"dataset": {"split": {"seed": 1}}}, {"experts": [{"from": {"component": "cmp_" + "0" * 26}}]},
    {"training": {"epochs": 2, "deterministic": True}},
]  # fmt: skip


@pytest.mark.parametrize("change", [*SAME, *OTHER], ids=str)
def test_jobs_are_the_same_by_all_that_decides_what_comes_out(change: dict[str, Any]) -> None:
    one, other = (resolve(parse_spec(spec)).model_dump(mode="json", by_alias=True) for spec in (BASE, BASE | change))
    assert (digest(one) == digest(other)) == (change in SAME)
    assert digest(json.loads(json.dumps(one, sort_keys=True))) == digest(one)


def test_the_same_points_take_the_jobs_that_are_there(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 2}}, "alice")
    service.transition(by_hand, *SUCCEEDED)
    one = made(service, sweep({"training.seed": [1, 2]}))
    first, second = points(service, one["id"])
    assert (second["job"], second["reused"], second["state"]) == (by_hand, True, "succeeded")
    assert (first["reused"], one["reused"], one["counts"]["succeeded"]) == (False, 1, 1)
    # What is still under way is taken too; and of two points that come to the same the first makes the job.
    grid = {"training.seed": [1, 3], "fusion.type": ["simpleAddition", "additive", "multiplicative"]}
    preview = service.post("/sweeps?dry_run=true", sweep(grid)).json()
    assert (preview["count"], preview["new"], preview["reused"]) == (6, 3, 3)
    two = made(service, sweep(grid))
    its = points(service, two["id"])
    assert [point["reused"] for point in its] == [False, True, True, False, True, False]
    assert (its[2]["job"], its[0]["job"], its[3]["job"]) == (first["job"], its[1]["job"], its[4]["job"])
    assert [point["job"] for point in preview["points"]] == [None, None, first["job"], None, None, None]
    found = {job["id"] for job in service.get(f"/jobs?sweep={two['id']}").json()["items"]}
    assert found == {point["job"] for point in its}
    # Asked to, everything is trained anew.
    three = made(service, sweep({"training.seed": [1, 2]}, fresh=True))
    assert set(jobs(service, three["id"])).isdisjoint({by_hand, first["job"]})
    assert (three["reused"], three["counts"]["queued"]) == (0, 2)


@pytest.mark.parametrize("way", [(State.failed,), (State.cancelled,), (State.starting, State.cancelling)])
def test_what_failed_or_was_cancelled_is_not_taken(service: Service, way: tuple[State, ...]) -> None:
    job_id = service.submit(BASE)
    service.transition(job_id, *way)
    assert jobs(service, made(service, sweep({"training.seed": [42]}))["id"]) != [job_id]


def test_what_an_early_stop_may_end_is_not_taken_before_it_has_succeeded(service: Service) -> None:
    one = made(service, sweep(early_stopping={}))
    assert one["early_stopping"] == {"metric": None, "mode": None, "min_epochs": 1, "reduction_factor": 3}
    its = jobs(service, one["id"])
    service.transition(its[0], *SUCCEEDED)
    two = points(service, made(service)["id"])
    assert [point["job"] in its for point in two] == [True, *[False] * 5]


def test_a_retry_queues_what_failed_and_makes_what_is_missing(service: Service) -> None:
    by_hand = service.submit(BASE | {"training": {"epochs": 2, "seed": 9}})
    grid = {"training.seed": [1, 2, 3, 4, 5, 9]}
    sweep_id = made(service, sweep(grid), "alice")["id"]
    failed, gone, cancelled, early, fine, _ = jobs(service, sweep_id)
    service.transition(failed, State.failed)
    service.transition(by_hand, State.failed)
    service.transition(cancelled, State.cancelled)
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}", "alice").status_code == 200
    with transaction(service.app.state.engine) as session:
        transition(session, early, State.cancelled, message=f"{STOPPED_EARLY}because")
    service.transition(fine, State.starting)
    before = shown(service, sweep_id)
    assert counts(service, sweep_id) == {"failed": 2, "cancelled": 2, "starting": 1}
    assert (before["missing"], before["count"], before["stopped_early"]) == (1, 6, 1)
    assert [point["state"] for point in points(service, sweep_id)][1] is None
    answer = service.post(f"/sweeps/{sweep_id}/retry", user="alice")
    assert answer.status_code == 202
    assert (answer.json()["counts"]["queued"], answer.json()["missing"]) == (4, 0)
    its = points(service, sweep_id)
    assert [point["state"] for point in its] == ["queued", "queued", "queued", "cancelled", "starting", "queued"]
    assert [point["job"] for point in its][0::2] == [failed, cancelled, fine]
    assert [point["stopped_early"] for point in its] == [False] * 3 + [True] + [False] * 2
    # What was not its own stays as it is, and the point has a job of its own.
    assert service.get(f"/jobs/{by_hand}").json()["state"] == "failed"
    for number, seed in ((1, 2), (5, 9)):
        job = service.get(f"/jobs/{its[number]['job']}").json()
        assert (job["id"] not in (gone, by_hand), job["owner"]) == (True, "alice")
        assert (job["spec"]["training"]["seed"], job["name"]) == (seed, f"base seed={seed}")
    assert [point["reused"] for point in its] == [False] * 6
    again = service.post(f"/sweeps/{sweep_id}/retry", user="alice").json()
    assert (again["counts"], jobs(service, sweep_id)) == (answer.json()["counts"], [point["job"] for point in its])


def test_two_sweeps_that_miss_the_same_job_train_it_once(service: Service) -> None:
    grid = {"training.seed": [1, 2]}
    first, second = (made(service, sweep(grid))["id"] for _ in range(2))
    gone = jobs(service, first)[1]
    service.transition(gone, State.cancelled)
    assert service.call("DELETE", f"/jobs/{gone}").status_code == 200
    for sweep_id in (first, second):
        assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["queued"] == 2
    assert jobs(service, first) == jobs(service, second)


def test_a_retry_names_what_has_to_be_retried_first(service: Service) -> None:
    source = service.submit()
    base = BASE | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    sweep_id = made(service, {"base": base, "grid": {"training.seed": [1]}})["id"]
    [job_id] = jobs(service, sweep_id)
    assert service.get(f"/jobs/{job_id}").json()["waits_for"] == [source]
    for ended in (source, job_id):
        service.transition(ended, State.failed)
    answer = service.post(f"/sweeps/{sweep_id}/retry")
    assert (answer.status_code, source in answer.json()["detail"]) == (409, True)
    service.post(f"/jobs/{source}/retry")
    assert service.post(f"/sweeps/{sweep_id}/retry").json()["counts"]["waiting"] == 1


def test_a_cancelled_sweep_ends_what_it_made_alone(service: Service) -> None:
    one = made(service, sweep({"training.seed": [1, 2, 3]}))["id"]
    two = made(service, sweep({"training.seed": [3, 4, 5, 6]}))["id"]
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


def test_the_same_key_and_body_make_one_sweep(service: Service) -> None:
    key = {"Idempotency-Key": "k1"}
    first, again = (service.post("/sweeps", sweep(), headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = service.post("/sweeps", sweep(max_parallel=1), headers=key)
    assert (other.status_code, other.json()["type"]) == (409, "idempotency-mismatch")
    assert service.post("/sweeps", sweep(), "alice", headers=key).status_code == 201
    assert len(service.get("/jobs").json()["items"]) == 6


def test_members_see_all_and_change_only_their_own(service: Service) -> None:
    sweep_id = made(service, user="alice")["id"]
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
    ids = [made(service, sweep({"training.seed": [seed]}))["id"] for seed in range(5)]
    first = service.get("/sweeps?limit=3").json()
    rest = service.get(f"/sweeps?limit=3&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert (first["items"][0]["count"], first["items"][0]["counts"]["queued"]) == (1, 1)


def grid(**more: Any) -> dict[str, Any]:
    return sweep({path.replace("__", "."): values for path, values in more.items()})


# What is sent, where the answer says the mistake is, and what it says.
MISTAKES: dict[str, tuple[Any, list[Any], str]] = {
    "no field": (grid(training__nothing=[1]), ["grid", "training.nothing"], "there is no such field"),
    "no field on the way": (grid(nothing__seed=[1]), ["grid", "nothing.seed"], "there is no such field"),
    "below a number": (grid(training__epochs__x=[1]), ["grid", "training.epochs.x"], "there is nothing at"),
    "no such expert": (grid(experts__7__arch=["resnet18"]), ["grid", "experts.7.arch"], "there is nothing at '7'"),
    "a wrong value": (grid(training__seed=[1, -1]), ["grid", "training.seed", 1], "(at training.seed=-1)"),
    "a wrong word": (
        sweep({"training.seed": [1, 2], "fusion.type": ["multiplicative", SECRET]}),
        ["grid", "fusion.type", 1],
        "(at training.seed=1, fusion.type[1])",
    ),
    "a wrong pair": (
        grid(num_experts=[2, 3], experts=[[{"arch": "convnet_small"}] * 2]),
        ["base"],
        "(at num_experts=3, experts[0])",
    ),
    "a string for a number": (grid(training__epochs=["3"]), ["grid", "training.epochs", 0], "must be an integer"),
    "true for a number": (grid(training__epochs=[True]), ["grid", "training.epochs", 0], "must be an integer"),
    "no values": (grid(training__seed=[]), ["grid", "training.seed"], "at least 1 item"),
    "one value alone": (grid(training__seed=3), ["grid", "training.seed"], "must be a list"),
    "twice the same": (grid(training__seed=[1, 2, 1]), ["grid", "training.seed"], "values 1 and 3 are the same"),
    "1 and 1.0": (grid(training__loss__alpha=[1, 1.0]), ["grid", "training.loss.alpha"], "values 1 and 2"),
    "a part and its whole": (
        grid(training__loss__alpha=[1.0], training__loss=[{}]),
        ["grid", "training.loss.alpha"],
        "training.loss is in the grid too",
    ),
    "the kind": (grid(kind=["fusion", "head"]), ["grid", "kind"], "give it in base"),
    "the name": (grid(name=["a", "b"]), ["grid", "name"], "named after the values"),
    "not a path": (sweep({f"{SECRET} x": [1]}), ["grid"], "its keys are paths"),
    "an empty grid": (sweep({}), ["grid"], "at least 1 item"),
    "too many": (
        grid(training__seed=list(range(101)), dataset__split__seed=list(range(100))),
        ["grid"],
        "10,100 points, 10,000 are allowed",
    ),
    "far too many": (
        grid(training__seed=list(range(20_000)), dataset__split__seed=list(range(20_000))),
        ["grid"],
        "400,000,000 points",
    ),
    "no base": ({"grid": GRID}, ["base"], "required"),
    "a base that is none": (sweep() | {"base": [SECRET]}, ["base"], "must be an object"),
    "a base without a kind": (sweep() | {"base": {}}, ["base", "kind"], "choose one of expert, fusion"),
    "a mistake in the base": (sweep() | {"base": BASE | {"oops": SECRET}}, ["base", "oops"], "no such field"),
    "a file": (
        sweep() | {"base": BASE | {"fusion": {"from": {"path": "/etc/passwd"}}}},
        ["base", "fusion", "from"],
        "files cannot be named here",
    ),
    "no such job": (
        grid(fusion__from=[{"job": "job_" + "0" * 26, "component": "fusion"}]),
        ["grid", "fusion.from", 0],
        "there is no job",
    ),
    "an unknown field": (sweep(parallel=SECRET), ["parallel"], "no such field"),
    "nothing at once": (sweep(max_parallel=0), ["max_parallel"], "greater than or equal to 1"),
    "a wrong tag": (sweep(tags=["a b"]), ["tags", 0], "letters, digits"),
    "33 tags": (sweep(tags=[f"t{k}" for k in range(32)]), ["base", "tags"], "at most 32"),
    "a name with a newline": (sweep(name="a\nb"), ["name"], "one line"),
    "a name that is too long": (sweep() | {"base": BASE | {"name": "n" * 201}}, ["base", "name"], "at most 200"),
    "stopping nowhere": (sweep(early_stopping=True), ["early_stopping"], "must be an object"),
    "a half": (sweep(early_stopping={"reduction_factor": 1}), ["early_stopping", "reduction_factor"], "equal to 2"),
    "no such metric": (sweep(early_stopping={"metric": SECRET}), ["early_stopping", "metric"], "during training"),
    "after the end": (
        sweep(early_stopping={"metric": "test/accuracy_fused"}), ["early_stopping", "metric"], "during training",
    ),
    "an expert's fusion": (
        {"base": EXPERT, "grid": {"training.seed": [1]}, "early_stopping": {"metric": "val/accuracy_fused"}},
        ["early_stopping", "metric"],
        "an expert alone has no such metric",
    ),
    "nothing trained": (
        {"base": {"kind": "evaluate"}, "grid": {"training.seed": [1]}, "early_stopping": {}},
        ["early_stopping"],
        "train nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_by_its_field(service: Service, name: str) -> None:
    body, loc, says = MISTAKES[name]
    answer = service.post("/sweeps", body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    [first, *_] = answer.json()["errors"]
    assert first["loc"] == loc, answer.json()
    assert says in first["msg"], answer.json()
    assert SECRET not in answer.text
    assert service.post("/sweeps?dry_run=true", body).status_code == 422
    assert service.get("/sweeps").json()["items"] == service.get("/jobs").json()["items"] == []


UNREADABLE = {
    "nothing": b"", "a list": b"[]", "NaN": b'{"base": {}, "grid": {"training.seed": [NaN]}}',
    # Hidden below a value that the grid replaces, where no specification ever holds it.
    "1e999": json.dumps(sweep()).replace('"epochs": 2', '"seed": 1e999').encode(),
    "a surrogate": json.dumps(sweep()).replace('"epochs": 2', '"seed": "\\ud800"').encode(),
    "deep": json.dumps(sweep()).replace('"epochs": 2', '"seed": ' + "[" * 900 + "]" * 900).encode(),
    "deeper": b'{"base": ' * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_nobody_could_read_again_is_refused(service: Service, name: str) -> None:
    answer = service.post("/sweeps", UNREADABLE[name])
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["detail"]) > 10
    assert service.get("/sweeps").json()["items"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sweeps?cursor=x", 422), ("/sweeps?limit=0", 422), ("/sweeps/swp_none", 404), ("/sweeps/%00", 404),
        ("/sweeps/" + "x" * 100, 422), ("/sweeps/{id}?mode=most", 422), ("/sweeps/{id}?metric=%00", 422),
        ("/sweeps/{id}/points?cursor=WyJ4Il0", 422), ("/sweeps/swp_none/points", 404),
        ("/sweeps/swp_none/leaderboard.csv", 404), ("/sweeps/{id}?metric=nothing", 200),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_refused(service: Service, path: str, status: int) -> None:
    answer = service.get(path.replace("{id}", made(service)["id"]))
    assert answer.status_code == status
    assert status == 200 or answer.json()["detail"]


def test_a_value_is_set_by_its_path() -> None:
    data: dict[str, Any] = {"experts": [{"arch": "a"}]}
    set_value(data, "experts.0.arch", "b")
    set_value(data, "training.loss.alpha", 1)
    assert data == {"experts": [{"arch": "b"}], "training": {"loss": {"alpha": 1}}}


def test_a_thousand_points_are_stored_in_a_few_statements(service: Service) -> None:
    source = service.submit()
    base = BASE | {"experts": [{"from": {"job": source, "component": "expert_0"}}]}
    body = {"base": base, "grid": {"training.seed": list(range(100)), "training.loss.lambda_individual": [*range(10)]}}
    began = time.monotonic()
    with statements(service) as said:
        answer = made(service, body)
    print(f"1,000 points in {time.monotonic() - began:.2f} s")
    assert answer["counts"]["waiting"] == 1000
    # What they need is looked up once, not once a point.
    assert len(said) < 30
    assert len([row for row in answer["leaderboard"] if len(row["jobs"]) == 100]) == 10
    began = time.monotonic()
    assert service.post(f"/sweeps/{answer['id']}/cancel").json()["counts"]["cancelled"] == 1000
    print(f"cancelled in {time.monotonic() - began:.2f} s")


def test_a_sweep_lives_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=postgres_url)
    application = create_app(settings)
    with TestClient(application, raise_server_exceptions=False) as http:
        tokens = {"admin": (settings.data_dir / "admin-token").read_text().strip()}
        service = Service(settings, application, http, tokens)
        key = {"Idempotency-Key": "k1"}
        one = service.post("/sweeps", sweep(early_stopping={}), headers=key).json()
        assert service.post("/sweeps", sweep(early_stopping={}), headers=key).json() == one
        its = jobs(service, one["id"])
        service.transition(its[0], *SUCCEEDED)
        service.transition(its[1], State.starting, State.failed)
        measure(service, its[0], "test/accuracy_fused", 0.5)
        assert service.post("/sweeps?dry_run=true", sweep()).json()["reused"] == 1
        two = made(service)
        assert (two["reused"], two["leaderboard"][0]["mean"]) == (1, 0.5)
        assert {job["id"] for job in service.get(f"/jobs?sweep={two['id']}").json()["items"]} > {its[0]}
        assert service.post(f"/sweeps/{one['id']}/retry").json()["counts"]["queued"] == 5
        assert service.post(f"/sweeps/{one['id']}/cancel").json()["counts"]["cancelled"] == 5
        assert service.call("DELETE", f"/jobs/{its[1]}").status_code == 200
        assert [row["missing"] for row in service.get("/sweeps").json()["items"]] == [0, 1]
        assert service.post(f"/sweeps/{one['id']}/retry").json()["counts"]["queued"] == 5
        assert len(service.get(f"/sweeps/{one['id']}/leaderboard.csv").text.splitlines()) == 3


TYPES_FILE = str(ROOT / "examples/digits/sweep_fusion_types.yaml")
SHORT = "base.training.epochs=1", "grid.fusion.type=[multiplicative]", "grid.training.seed=[1, 2]"


def test_the_command_line_follows_a_sweep_to_its_leaderboard(up: Running) -> None:
    def mcn(*words: str, code: int = 0, stdin: str = "") -> str:
        done = up.cli(*words, stdin=stdin)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    short = [word for override in SHORT for word in ("--set", override)]
    said = mcn("sweep", TYPES_FILE, *short, "--follow")
    sweep_id = said.split()[0]
    assert "2 points: 2 queued" in said
    assert re.search(r"\n2 succeeded\n", said)
    assert re.search(r"1 +multiplicative +2 +0\.\d{4} ± 0\.\d{4} +job_", said)
    assert "2 points: 0 new, 2 reused" in mcn("sweep", TYPES_FILE, *short, "--dry-run")
    assert "2 points: 2 new, 0 reused" in mcn("sweep", TYPES_FILE, *short, "--dry-run", "--fresh")
    assert sweep_id in mcn("sweeps")
    assert "2 succeeded" in mcn("show", sweep_id)
    assert "val/loss_global" in mcn("leaderboard", sweep_id, "--metric", "val/loss_global")
    assert mcn("leaderboard", sweep_id, "--csv").startswith(
        "rank,fusion.type,n,mean,std,best,stopped_early,jobs\n1,mul"
    )
    assert json.loads(mcn("leaderboard", sweep_id, "--json"))["leaderboard"][0]["n"] == 2
    assert mcn("jobs", "--sweep", sweep_id).count("succeeded") == 2
    for verb in ("cancel", "retry", "watch"):
        assert "2 succeeded" in mcn(verb, sweep_id)
    # There is no CIFAR-100 here.
    failing = {"base": EXPERT | {"dataset": {"name": "cifar100"}}, "grid": {"training.seed": [1]}}
    said = mcn("sweep", "-", "--follow", code=1, stdin=json.dumps(failing))
    assert "1 of 1 points have no result" in said
    assert "grid.training.x: there is no such field" in mcn(
        "sweep", TYPES_FILE, *short, "--set", "grid.training.x=[1]", code=2
    )
    assert "there is no sweep" in mcn("leaderboard", "swp_none", code=2)
