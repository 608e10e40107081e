"""Every state is explained in a sentence, from what really holds the job up."""

from __future__ import annotations

import pytest

from app.jobs.explain import EXPLAINERS
from app.models import Attempt, State
from tests.app.api import Service
from tests.app.jobs.explaining import add, explain, progress, running, set_job, waiting, worker


def test_a_waiting_job_names_what_it_waits_for_with_the_time_left(service: Service) -> None:
    first, second = waiting(service)
    assert explain(service, second)["sentence"] == f"It waits for one ({first})."
    service.transition(first, State.starting, State.running)
    set_job(service, first, progress=progress(40))
    shown = explain(service, second)
    assert shown["sentence"] == f"It waits for one ({first}), 71 % done, about 40 s left."
    assert shown["evidence"] == [f"one ({first}) is running, 71 % done, about 40 s left."]
    assert shown["actions"][0]["command"] == f"mcn cancel {second}"
    set_job(service, first, state="paused")
    assert explain(service, second)["actions"][0]["path"] == f"/jobs/{first}/resume"
    set_job(service, first, state="failed")
    assert "will fail in a moment" in explain(service, second)["sentence"]
    set_job(service, first, state="succeeded")
    assert "queued in a moment" in explain(service, second)["sentence"]


def test_what_slurm_says_is_passed_on(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.starting, message="pending in Slurm: waiting for nodes to become free (Resources)")
    set_job(service, job_id, executor="slurm", attempt=1)
    add(service, Attempt(job_id=job_id, number=1, executor="slurm", host="", devices=[], slurm_job_id="77"))
    shown = explain(service, job_id)
    assert shown["sentence"] == "It is pending in Slurm: waiting for nodes to become free (Resources)."
    assert shown["evidence"] == ["Slurm knows it as job 77."]


def test_a_running_job_says_how_far_it_is_and_whether_news_arrives(service: Service) -> None:
    job_id = running(service, "r", 7200)
    assert explain(service, job_id)["sentence"] == "It is training: epoch 3 of 10, 71 % done, about 2 h left."
    add(
        service,
        Attempt(job_id=job_id, number=1, executor="local", host="here", devices=[], resumed_from_step=60),
        worker(age_s=600),
        worker("other"),
    )
    shown = explain(service, job_id)
    assert shown["sentence"].startswith("The worker on here has not been heard from for about 10 min:")
    assert shown["evidence"][0] == "Last known: It is training: epoch 3 of 10, 71 % done, about 2 h left."
    assert shown["evidence"][1] == "Attempt 1 resumed from step 60."
    assert "another worker takes the job over after about 5 min" in shown["evidence"][2]
    assert shown["actions"][0]["label"] == "Pause"
    set_job(service, job_id, progress=None)
    assert "first report has not arrived" in explain(service, job_id)["evidence"][0]


def test_a_running_job_without_any_worker_says_how_it_goes_on(service: Service) -> None:
    job_id = running(service, "r", 7200)
    add(service, Attempt(job_id=job_id, number=1, executor="local", host="here", devices=[]), worker(age_s=600))
    shown = explain(service, job_id)
    assert shown["evidence"][-1].startswith("No other worker is there.")
    assert shown["actions"][0] == {
        "label": "Start a worker", "method": None, "path": None, "command": "mcn up", "body": None
    }  # fmt: skip


STATES: dict[State, str] = {
    State.starting: "Its training process is starting.",
    State.pausing: "It is writing a checkpoint and frees its device once that is done.",
    State.paused: "A user paused it; it resumes from its checkpoint when you say so.",
    State.cancelling: "Its process is being stopped.",
    State.succeeded: "It succeeded.",
    State.failed: "It failed; the reason is not known.",
    State.cancelled: "A user cancelled it.",
}


@pytest.mark.parametrize("state", State)
def test_every_state_is_explained(service: Service, state: State) -> None:
    job_id = service.submit()
    set_job(service, job_id, state=state.value)
    shown = explain(service, job_id)
    assert shown["sentence"] == STATES.get(state, shown["sentence"])
    assert set(EXPLAINERS) == set(State)
    for action in shown["actions"]:
        assert action["command"].startswith("mcn ")
        verb = (action["path"] or "").rpartition("/")[2]
        if action["method"] == "POST" and job_id in action["path"]:
            assert service.post(f"/jobs/{job_id}/{verb}").status_code == 202, verb
