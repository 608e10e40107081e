"""The dry run of a sweep lists the controls that its submission would create, and counts their cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from app.db import now, reading, transaction
from app.models import Attempt, Control, Job
from tests.app.api import EXPERT, FUSION, Service
from tests.app.sweeps.sweeping import SUCCEEDED, create, statements

WHOLE = FUSION | {"dataset": {"name": "digits"}, "training": {"epochs": 3}, "controls": True}
SEEDS = {"base": WHOLE, "grid": {"fusion.type": ["multiplicative", "simpleAddition"], "training.seed": [1, 2]}}


def preview(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    answer = service.post("/sweeps?dry_run=true", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def on_experts(service: Service) -> dict[str, Any]:
    """A fusion job whose experts can be frozen."""
    ids = [service.submit(EXPERT | {"training": {"seed": seed}}) for seed in (1, 2)]
    experts = [{"from": {"job": job_id, "component": "expert_0"}} for job_id in ids]
    return {"kind": "fusion", "experts": experts, "dataset": {"name": "digits"}, "controls": True}


def test_shared_controls_are_listed_once(service: Service) -> None:
    with statements(service) as executed:
        planned = preview(service, SEEDS)
    assert not [statement for statement in executed if not statement.lstrip().upper().startswith("SELECT")]
    # Networks with seeds 1, 2 and 3: that with seed 2 is the first one of two points and the second one of the others.
    assert [(control["roles"], control["points"]) for control in planned["controls"]] == [
        (["single_0"], 2),
        (["single_0", "single_1"], 4),
        (["matched"], 2),
        (["frozen"], 4),
        (["single_1"], 2),
        (["matched"], 2),
    ]
    [absent] = [control for control in planned["controls"] if control["absent"]]
    assert (absent["roles"], absent["job"], absent["name"]) == (["frozen"], None, None)
    assert (planned["new"], planned["new_controls"], planned["reused_controls"]) == (4, 5, 0)


@pytest.mark.parametrize("case", ["seeds", "frozen", "early stopping", "predictions"])
def test_a_submission_creates_what_was_listed(service: Service, case: str) -> None:
    body: dict[str, Any] = SEEDS
    if case == "predictions":
        body = {"base": WHOLE, "grid": {"evaluation.store_predictions": [False, True]}}
    elif case != "seeds":
        # The control with frozen experts of the first point is the second point, unless that may be stopped.
        body = {"base": on_experts(service), "grid": {"training.components.experts.frozen": [False, True]}}
        body |= {"early_stopping": {}} if case == "early stopping" else {}
    planned = preview(service, body)
    with reading(service.app.state.engine) as session:
        before = set(session.exec(select(Job.id)))
    create(service, body)
    with reading(service.app.state.engine) as session:
        created = set(session.exec(select(Job.id))) - before
        controls = session.exec(select(Control)).all()
    assert planned["new"] + planned["new_controls"] == len(created)
    reused = {row.control_job_id for row in controls if row.reused}
    assert planned["reused_controls"] == len(reused)
    frozen = {row.control_job_id for row in controls if row.role == "frozen"}
    assert bool(reused & frozen) is (case == "frozen")


def test_a_control_that_exists_is_named(service: Service) -> None:
    service.submit(WHOLE | {"training": {"epochs": 9, "seed": 1}})
    planned = preview(service, SEEDS)
    [reused] = [control for control in planned["controls"] if control["roles"] == ["single_0"] and control["reused"]]
    assert service.get(f"/jobs/{reused['job']}").json()["tags"] == ["control"]
    # Networks of seeds 1 and 2, and a wider one of seed 1.
    assert planned["reused_controls"] == 3


def test_the_estimate_counts_the_controls(service: Service) -> None:
    for spec, hours in ((FUSION | {"dataset": {"name": "digits"}}, 2.0), (EXPERT, 1.0)):
        job_id = service.submit(spec | {"training": {"epochs": 1}})
        service.transition(job_id, *SUCCEEDED)
        with transaction(service.app.state.engine) as session:
            ended = now()
            columns: Any = {"executor": "local", "host": "here", "devices": ["0"]}
            began = ended - timedelta(hours=hours)
            session.add(Attempt(job_id=job_id, number=1, started_at=began, ended_at=ended, **columns))
    plain = {"base": WHOLE | {"controls": False}, "grid": {"training.seed": [1]}}
    # One point of 3 epochs.
    assert preview(service, plain)["estimate"]["gpu_hours"] == pytest.approx(6.0, rel=1e-3)
    planned = preview(service, plain | {"base": WHOLE})
    epochs = service.post("/jobs?dry_run=true", EXPERT).json()["spec"]["training"]["epochs"]
    assert planned["new_controls"] == 3
    assert planned["estimate"]["gpu_hours"] == pytest.approx(6.0 + 3 * epochs, rel=1e-3)
    # That of a single job as well.
    of_job = service.post("/jobs?dry_run=true", WHOLE).json()["estimate"]
    assert of_job["gpu_hours"] == pytest.approx(6.0 + 3 * epochs, rel=1e-3)
    assert "this includes 3 controls" in of_job["why"]


def test_an_unknown_cost_counts_the_controls_too(service: Service) -> None:
    assert "of 2 new points and controls" not in preview(service, SEEDS)["estimate"]["why"]
    planned = preview(service, SEEDS)
    number = planned["new"] + planned["new_controls"]
    assert f"for {number} of {number} new points and controls" in planned["estimate"]["why"]
    of_job = service.post("/jobs?dry_run=true", WHOLE).json()["estimate"]
    assert "for 4 of 4, this job and its 3 controls" in of_job["why"]
