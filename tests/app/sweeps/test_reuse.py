"""A sweep reuses a job only if data, software and device are the same too, and says why it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from app.db import transaction
from app.models import Job, State
from core.run.content import ContentCache, find_content
from core.run.rundir import RunDir
from tests.app.api import EXPERT, Service
from tests.app.sweeps.sweeping import SUCCEEDED, create, points

FILES = ("a", "b", "c")
GRID = {"dataset.name": [f"npz:{name}.npz" for name in FILES], "training.seed": list(range(10))}
SWEEP = {"base": EXPERT | {"training": {"epochs": 1}}, "grid": GRID}


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of files are trusted, however young they are."""
    monkeypatch.setattr("core.run.content._SETTLED_S", -1.0)


def write(service: Service, name: str, *, changed_pixel: bool = False) -> Path:
    images = np.random.default_rng(FILES.index(name)).integers(0, 255, (20, 8, 8), dtype=np.uint8)
    if changed_pixel:
        images[3, 4, 5] ^= 1
    file = service.settings.roots[0] / f"{name}.npz"
    np.savez(file, images=images, labels=np.arange(20) % 2)
    return file


def finished_sweep(service: Service, **columns: Any) -> list[str]:
    """The jobs of a sweep of 30 points that have all succeeded."""
    for name in FILES:
        write(service, name)
    ids = [str(point["job"]) for point in points(service, create(service, SWEEP)["id"])]
    assert len(set(ids)) == 30
    for job_id in ids:
        service.transition(job_id, *SUCCEEDED, **columns)
    return ids


def preview(service: Service) -> dict[str, Any]:
    return dict(service.post("/sweeps?dry_run=true", SWEEP).json())


def reasons(service: Service) -> set[str]:
    """Why points are not reused, without the ids of the jobs."""
    return {
        str(point["why_not_reused"]).partition(" is not reused: ")[2].split(";")[0]
        for point in preview(service)["points"]
        if not point["reused"]
    }


def test_untouched_data_reuse_every_point(service: Service) -> None:
    finished_sweep(service)
    (service.settings.roots[0] / "b.npz").touch()
    assert preview(service)["reused"] == 30
    assert reasons(service) == set()


def test_one_changed_pixel_trains_exactly_its_own_points_again(service: Service) -> None:
    ids = finished_sweep(service)
    write(service, "b", changed_pixel=True)
    items = points(service, create(service, SWEEP)["id"])
    assert [point["reused"] for point in items] == [True] * 10 + [False] * 10 + [True] * 10
    assert [point["job"] for point in items[:10] + items[20:]] == ids[:10] + ids[20:]
    assert set(ids).isdisjoint(str(point["job"]) for point in items[10:20])


@pytest.mark.parametrize("has_run", [True, False])
def test_a_file_that_cannot_be_read_is_named(service: Service, has_run: bool) -> None:
    if has_run:
        finished_sweep(service)
    for name in FILES:
        write(service, name)
    file = service.settings.roots[0] / "b.npz"
    file.write_bytes(file.read_bytes()[:-100])
    said = [point["why_not_reused"] or "" for point in preview(service)["points"]]
    assert all(reason.startswith(f"{file} cannot be read as an .npz file: ") for reason in said[10:20]), said
    assert not any("cannot be read" in reason for reason in said[:10] + said[20:])


def test_the_changed_file_and_array_are_named(service: Service) -> None:
    finished_sweep(service)
    write(service, "b", changed_pixel=True)
    assert reasons(service) == {"npz:b.npz has changed since (images changed)"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"software_key": "another"}, "other code or libraries computed it"),
        ({"device_key": "another"}, "another device computed it"),
        ({"device_key": None}, "another device computed it"),
        ({"data_sha256": None}, "it was trained before the content of its data was recorded"),
    ],
    ids=["software", "device", "several devices", "earlier version"],
)
def test_another_environment_is_a_reason(service: Service, columns: dict[str, Any], reason: str) -> None:
    finished_sweep(service, **columns)
    assert preview(service)["reused"] == 0
    assert reasons(service) == {reason}


def test_a_job_that_waits_to_run_is_reused_whatever_device_it_will_get(service: Service) -> None:
    for name in FILES:
        write(service, name)
    create(service, SWEEP)
    assert preview(service)["reused"] == 30


def test_a_job_that_waits_to_run_will_use_what_is_there_then(service: Service) -> None:
    for name in FILES:
        write(service, name)
    create(service, SWEEP)
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).values(software_key="before the upgrade"))
    write(service, "b", changed_pixel=True)
    assert preview(service)["reused"] == 30
    # One that has begun keeps what it began with.
    [first, *_] = points(service, create(service, SWEEP)["id"])
    service.transition(str(first["job"]), State.starting, State.running, attempt=1)
    assert reasons(service) == {"other code or libraries computed it"}


def test_data_that_are_not_there_yet_are_never_assumed_to_be_the_same(service: Service) -> None:
    sweep = {"base": EXPERT | {"dataset": {"name": "cifar10"}}, "grid": {"training.seed": [1]}}
    job_id = service.submit(EXPERT | {"dataset": {"name": "cifar10"}, "training": {"seed": 1}})
    [point] = service.post("/sweeps?dry_run=true", sweep).json()["points"]
    assert point["why_not_reused"] == (
        f"{job_id} is not reused: the content of cifar10 is not known yet; it will be once a job has read it"
    )


def stores(predictions: Any) -> dict[str, Any]:
    """A sweep of one point that stores its predictions in this way."""
    spec = EXPERT | {"evaluation": {"store_predictions": predictions}}
    return {"base": spec, "grid": {"training.seed": [1]}}


@pytest.mark.parametrize("state", ["queued", "succeeded"])
@pytest.mark.parametrize(
    ("existing", "wanted", "reason"),
    [
        (False, False, None),
        (False, "auto", "it stores no predictions"),
        (False, True, "it stores no predictions"),
        ("auto", False, None),
        ("auto", "auto", None),
        ("auto", True, "it stores its predictions only if they are small"),
        (True, "auto", None),
        (True, True, None),
    ],
)
def test_a_point_that_stores_predictions_reuses_only_a_job_that_does(
    service: Service, existing: Any, wanted: Any, reason: str | None, state: str
) -> None:
    [job] = points(service, create(service, stores(existing))["id"])
    if state == "succeeded":
        service.transition(str(job["job"]), *SUCCEEDED)
    [point] = service.post("/sweeps?dry_run=true", stores(wanted)).json()["points"]
    assert point["reused"] is (reason is None)
    assert point["why_not_reused"] is None if reason is None else reason in point["why_not_reused"]


def test_predictions_that_were_stored_after_all_are_enough(service: Service) -> None:
    [job] = points(service, create(service, stores("auto"))["id"])
    service.transition(str(job["job"]), *SUCCEEDED)
    run = RunDir(service.settings.runs_dir / str(job["job"]))
    for split in ("val", "test"):
        run.predictions(split).parent.mkdir(parents=True, exist_ok=True)
        run.predictions(split).touch()
    assert service.post("/sweeps?dry_run=true", stores(True)).json()["reused"] == 1


@pytest.mark.parametrize(
    ("result", "reused"),
    [
        ({"predictions": {"val": {"absent": "too large"}, "test": {"absent": "too large"}}}, True),
        ({"predictions": {"val": {"file": "predictions/val.npz"}, "test": {"absent": "too large"}}}, False),
        ({"predictions": {}}, False),
        ({}, False),
    ],
)
def test_predictions_that_are_not_there_have_to_be_absent_for_a_reason(
    service: Service, result: dict[str, Any], reused: bool
) -> None:
    [job] = points(service, create(service, stores("auto"))["id"])
    service.transition(str(job["job"]), *SUCCEEDED)
    run = RunDir(service.settings.runs_dir / str(job["job"]))
    run.path.mkdir(parents=True, exist_ok=True)
    run.result.write_text(json.dumps(result))
    [point] = service.post("/sweeps?dry_run=true", stores("auto")).json()["points"]
    assert point["reused"] is reused
    if not reused:
        assert "its stored predictions of val" in point["why_not_reused"]


def test_a_job_with_predictions_is_found_behind_one_without(service: Service) -> None:
    create(service, stores(False))
    second = create(service, stores("auto"))
    assert second["reused"] == 0
    [point] = points(service, create(service, stores("auto"))["id"])
    assert point["job"] == points(service, second["id"])[0]["job"]


def test_points_of_one_sweep_share_no_job_that_lacks_the_predictions_of_one(service: Service) -> None:
    sweep = {"base": EXPERT, "grid": {"evaluation.store_predictions": [False, True]}}
    answer = service.post("/sweeps?dry_run=true", sweep).json()
    assert (answer["new"], answer["reused"]) == (2, 0)


def test_a_submission_records_the_data_that_it_was_made_with(service: Service) -> None:
    write(service, "a")
    job_id = service.submit(EXPERT | {"dataset": {"name": "npz:a.npz"}})
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        content = find_content("npz:a.npz", service.settings.roots, ContentCache(None))
        assert content is not None
        assert job.data_sha256 == content.sha256


def test_a_single_job_does_not_wait_for_a_large_folder_and_a_sweep_does(service: Service) -> None:
    folder = service.settings.roots[0] / "pets"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for index in range(5):
            (folder / label / f"{index}.png").write_bytes(f"{label} {index}".encode())
    spec = EXPERT | {"dataset": {"name": "imagefolder:pets"}, "training": {"seed": 1}}
    job_id = service.submit(spec)
    sweep = {"base": spec, "grid": {"training.seed": [1]}}
    [point] = service.post("/sweeps?dry_run=true", sweep).json()["points"]
    reason = "the content of its data is not known before it starts"
    assert point["why_not_reused"] == f"{job_id} is not reused: {reason}"
    create(service, sweep)
    assert service.post("/sweeps?dry_run=true", sweep).json()["reused"] == 1
