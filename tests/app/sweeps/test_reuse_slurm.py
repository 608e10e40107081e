"""On Slurm, nodes are known by the options that choose them, and their devices by the jobs that ran there."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import now, transaction
from app.models import State, Worker
from tests.app.api import EXPERT, Service
from tests.app.sweeps.sweeping import SUCCEEDED
from tests.app.sweeps.test_reuse import write

SEED = 1


@pytest.fixture(autouse=True)
def _slurm(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster, and a dataset whose times are trusted, however young it is."""
    monkeypatch.setattr("core.run.content._SETTLED_S", -1.0)
    write(service, "a")
    with transaction(service.app.state.engine) as session:
        session.add(Worker(host="login", devices=[], seen_at=now(), slurm={}))


def spec(seed: int = SEED, **options: Any) -> dict[str, Any]:
    """A job with these options of sbatch."""
    resources = {"executor": "slurm", "time_limit_min": 60, "slurm": options}
    training = {"epochs": 1, "seed": seed}
    return EXPERT | {"dataset": {"name": "npz:a.npz"}, "resources": resources, "training": training}


def finished(service: Service, device_key: str | None, seed: int = SEED, **options: Any) -> None:
    job_id = service.submit(spec(seed, **options))
    service.transition(job_id, State.starting, attempt=1)
    service.transition(job_id, *SUCCEEDED[1:], device_key=device_key)


def reason(service: Service, **options: Any) -> str | None:
    """Why a point with these options does not reuse a job of the same specification; None if it does."""
    sweep = {"base": spec(**options), "grid": {"training.seed": [SEED]}}
    answer = service.post("/sweeps?dry_run=true", sweep)
    assert answer.status_code == 200, answer.text
    [point] = answer.json()["points"]
    assert point["reused"] is (point["why_not_reused"] is None)
    return None if point["reused"] else str(point["why_not_reused"])


def test_a_job_of_other_nodes_is_reused_once_they_are_known_to_have_its_device(service: Service) -> None:
    finished(service, "x", partition="old", account="anybody")
    assert reason(service, partition="old") is None
    known = "another device computed it; "
    assert known in (reason(service) or "")
    why_not = reason(service, partition="new", gres="gpu:h100:1") or ""
    assert known in why_not
    assert why_not.endswith("No job is known to have had it on these nodes (partition new, gres gpu:h100:1)")
    finished(service, "x", seed=2, partition="new", gres="gpu:h100:1")
    assert reason(service, partition="new", gres="gpu:h100:1") is None
    finished(service, "y", seed=3, partition="third")
    assert known in (reason(service, partition="third") or "")


def test_a_job_that_several_devices_computed_is_not_reused(service: Service) -> None:
    finished(service, None, partition="old")
    assert "another device computed it" in (reason(service, partition="old") or "")


def test_a_pending_job_is_reused_where_it_will_get_the_same_nodes(service: Service) -> None:
    service.submit(spec(partition="old"))
    assert reason(service, partition="old", qos="high") is None
    assert (reason(service) or "").endswith("it will run on other Slurm nodes (partition old)")
