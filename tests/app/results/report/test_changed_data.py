"""Controls and experts that were trained on other data than the job."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from app.db import transaction
from app.models import Component, Job, State
from core.run.content import ContentCache, find_content
from tests.app.api import EXPERT, FUSION, Service
from tests.app.results.predictions.trained import set_data
from tests.app.results.report.test_report import LABELS, add_control, fusion_job, report, trained_control


def contents(service: Service) -> tuple[str, str]:
    """Digests of two contents of one file, of which the second has other training labels, as jobs record them."""
    cache = ContentCache(service.settings.content_cache)
    file = service.settings.roots[0] / "cells.npz"
    digests = []
    file.parent.mkdir(parents=True, exist_ok=True)
    images = np.zeros((len(LABELS), 8, 8), np.uint8)
    for time_ns, labels in enumerate((LABELS, LABELS[::-1])):
        np.savez(file, images=images, labels=labels, test_images=images, test_labels=LABELS)
        os.utime(file, ns=(time_ns, time_ns))
        content = find_content("npz:cells.npz", service.settings.roots, cache)
        assert content is not None
        digests.append(content.sha256)
    return digests[0], digests[1]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_control_that_was_trained_on_other_labels_is_left_out_and_named(service: Service) -> None:
    before, after = contents(service)
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 120)
    trained_control(service, job_id, "single_1", 20, position=1)
    content = report(service, job_id)
    ids = {row["role"]: row["jobs"] for row in content["controls"]}["deep_ensemble"]
    for other, data in ((job_id, before), (ids[0], after), (ids[1], before)):
        set_data(service, other, data, "npz:cells.npz")
    content = report(service, job_id)
    rows = {row["role"]: row for row in content["controls"]}
    assert rows["single_1"]["model"]["accuracy"] == 0.9
    assert "single_0" not in rows
    expected = f"{ids[0]} was trained on other data: labels changed"
    assert (rows["deep_ensemble"]["absent"], rows["deep_ensemble"]["same_data"]) == (expected, False)
    notes = " ".join(content["notes"])
    assert "Trained on other data than this job, and so left out of the comparison: deep ensemble of 2" in notes
    assert expected in notes


def test_no_verdict_rests_on_a_control_of_other_data(service: Service) -> None:
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 4)
    [control] = service.get("/jobs?kind=expert").json()["items"]
    set_data(service, job_id, digest("a"))
    set_data(service, control["id"], digest("b"))
    content = report(service, job_id)
    [single] = [row for row in content["controls"] if row["role"] == "single_0"]
    assert single["absent"] == f"{control['id']} was trained on other data"
    assert "one network" not in content["verdict"]
    set_data(service, control["id"], None)
    content = report(service, job_id)
    assert "one network on all the data" in content["verdict"]
    assert "Whether it was trained on the data of this job is not known" in " ".join(content["notes"])


def test_of_a_control_that_has_yet_to_run_nothing_is_said_about_its_data(service: Service) -> None:
    job_id, other = fusion_job(service), service.submit(EXPERT)
    add_control(service, job_id, "single_0", other)
    set_data(service, job_id, digest("a"))
    set_data(service, other, digest("b"))
    content = report(service, job_id)
    [single] = [row for row in content["controls"] if row["role"] == "single_0"]
    assert (single["absent"], single["same_data"]) == (f"{other} is queued", None)
    assert not any("other data" in note for note in content["notes"])


def from_experts(service: Service, job_id: str, sources: list[str]) -> None:
    """Makes a job start from the experts of these jobs."""
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.spec = job.spec | {"experts": [{"from": {"job": one, "component": "expert_0"}} for one in sources]}


def test_experts_of_other_data_are_named_and_no_network_on_all_the_data_is_compared(service: Service) -> None:
    before, after = contents(service)
    sources = [service.submit(EXPERT), service.submit(EXPERT)]
    job_id = fusion_job(service)
    trained_control(service, job_id, "single_0", 120)
    trained_control(service, job_id, "matched", 120, position=1)
    trained_control(service, job_id, "frozen", 20, position=2)
    from_experts(service, job_id, sources)
    for row in service.get("/jobs").json()["items"]:
        set_data(service, row["id"], before if row["id"] == sources[1] else after, "npz:cells.npz")
    content = report(service, job_id)
    rows = {row["role"]: row for row in content["controls"]}
    for role in ("single_0", "matched"):
        assert rows[role]["absent"].startswith("expert 1 was trained on other data: labels changed, so that")
    assert rows["frozen"]["model"]["accuracy"] == 0.9
    expected = (
        f"Not all of this model was trained on the data of this job: expert 1 ({sources[1]}) was trained on other"
    )
    assert content["notes"][0].startswith(expected)
    set_data(service, sources[1], None, "npz:cells.npz")
    content = report(service, job_id)
    assert content["notes"][0].startswith("On which data these were trained is not known")
    assert next(row for row in content["controls"] if row["role"] == "single_0")["model"] is not None


def test_a_fusion_module_of_other_data_is_named_too(service: Service) -> None:
    source, job_id = service.submit(FUSION), fusion_job(service)
    trained_control(service, job_id, "single_0", 120)
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        job.spec = job.spec | {"fusion": job.spec["fusion"] | {"from": {"job": source, "component": "fusion"}}}
    for row in service.get("/jobs").json()["items"]:
        set_data(service, row["id"], digest("a" if row["id"] == source else "b"))
    content = report(service, job_id)
    assert f"the fusion module ({source}) was trained on other data" in content["notes"][0]
    assert content["controls"][-1]["absent"].startswith("the fusion module was trained on other data, so that")


def test_the_data_of_experts_of_experts_are_compared_too(service: Service) -> None:
    first, second = service.submit(EXPERT), service.submit(FUSION)
    job_id = fusion_job(service)
    from_experts(service, second, [first, first])
    from_experts(service, job_id, [second])
    for one, data in ((first, "a"), (second, "b"), (job_id, "b")):
        set_data(service, one, digest(data))
    assert f"expert 0 ({first}) was trained on other data" in report(service, job_id)["notes"][0]


def test_a_dry_run_and_a_submission_leave_out_networks_where_the_data_have_changed_since(service: Service) -> None:
    contents(service)
    dataset = {"name": "npz:cells.npz"}
    expert = service.submit(EXPERT | {"dataset": dataset})
    experts = [{"from": {"job": expert, "component": "expert_0"}}] * 2
    spec = {"kind": "fusion", "experts": experts, "dataset": dataset, "controls": True}
    # Before it has started, it will read what there is now.
    set_data(service, expert, digest("a"), "npz:cells.npz")
    assert single_0(service.post("/jobs?dry_run=true", spec).json()["controls"])["absent"] is None
    service.transition(expert, State.starting, State.running, State.succeeded)
    with transaction(service.app.state.engine) as session:
        row: dict[str, Any] = {"role": "expert", "epoch": 1, "metrics": {}, "selected_by": "x", "files": {}}
        session.add(Component(id="cmp_1", job_id=expert, name="expert_0", config={"arch": "convnet_small"}, **row))
    expected = "expert 0 was trained on other data than npz:cells.npz has now, and no job of one network"
    assert single_0(service.post("/jobs?dry_run=true", spec).json()["controls"])["absent"].startswith(expected)
    job_id = service.submit(spec)
    listed = service.get(f"/jobs/{job_id}/controls").json()["items"]
    assert single_0(listed)["absent"].startswith(expected)
    assert [row["job"] is not None for row in listed if row["role"] == "frozen"] == [True]


def single_0(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["role"] == "single_0")
