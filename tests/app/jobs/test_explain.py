"""Every state and every reason is explained in a sentence, from what really holds the job up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.db import now, transaction
from app.jobs.explain import EXPLAINERS
from app.jobs.explain_ended import ADVICE, FAILURES, REQUEUED
from app.jobs.wording import about, count, ordinal, plain
from app.models import Attempt, Job, Lease, Reason, State, Sweep, Worker
from tests.app.api import EXPERT, FUSION, Service
from worker.claims import start_next


def explain(service: Service, job_id: str) -> dict[str, Any]:
    answer = service.get(f"/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    shown = dict(answer.json())
    for sentence in (shown["sentence"], *shown["evidence"]):
        # A sentence that begins with the name of a job or a device keeps it as it is.
        assert not sentence[0].islower() or sentence.startswith("one (job_"), sentence
        assert sentence.endswith("."), sentence
    return shown


def set_job(service: Service, job_id: str, **columns: Any) -> None:
    with transaction(service.app.state.engine) as session:
        session.execute(update(Job).where(Job.id == job_id).values(**columns))  # type: ignore[arg-type]


def add(service: Service, *rows: Any) -> None:
    with transaction(service.app.state.engine) as session:
        session.add_all(rows)


def worker(host: str = "here", age_s: float = 0.0, **columns: Any) -> Worker:
    known: dict[str, Any] = {"devices": ["cpu"], "cpus": 4, "memory_gb": 8.0} | columns
    return Worker(host=host, seen_at=now() - timedelta(seconds=age_s), **known)


def progress(eta_s: float, step: int = 71) -> dict[str, Any]:
    at = now().isoformat()
    return {"epoch": 3, "epochs": 10, "step": step, "steps": 100, "images_per_s": 1.0, "eta_s": eta_s, "at": at}


def running(service: Service, name: str, eta_s: float, device: str | None = None) -> str:
    job_id = service.submit(EXPERT | {"name": name})
    service.transition(job_id, State.starting, State.running)
    set_job(service, job_id, progress=progress(eta_s), attempt=1)
    if device:
        add(service, Lease(host="here", device=device, job_id=job_id, attempt=1))
    return job_id


def waiting(service: Service) -> tuple[str, str]:
    first = service.submit()
    return first, service.submit(FUSION | {"experts": [{"from": {"job": first, "component": "expert_0"}}]})


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


def test_a_job_that_no_worker_can_start_says_so(service: Service) -> None:
    job_id = service.submit()
    shown = explain(service, job_id)
    assert shown["sentence"].startswith("No worker has ever been heard from")
    assert shown["actions"][0] | {"label": ""} == {
        "label": "", "method": None, "path": None, "command": "mcn up", "body": None,
    }  # fmt: skip
    add(service, worker(age_s=300))
    assert explain(service, job_id)["sentence"].startswith("No worker has been heard from for about 5 min")
    add(service, worker("other"))
    assert explain(service, job_id)["sentence"] == "It is first in line and a device is free: it starts within seconds."
    set_job(service, job_id, executor="slurm")
    assert "a worker that reaches Slurm" in explain(service, job_id)["sentence"]
    add(service, worker("login", slurm={"reachable": True}))
    assert explain(service, job_id)["sentence"] == "It is first in line to be submitted to Slurm."


def test_a_queued_job_knows_its_place_and_when_a_device_frees(service: Service) -> None:
    add(service, worker(devices=["0", "1"]))
    holder = running(service, "slow", 3600, "0")
    running(service, "fast", 360, "1")
    older, job_id, urgent = service.submit(), service.submit(), service.submit(EXPERT | {"priority": 5})
    shown = explain(service, job_id)
    assert shown["sentence"] == "It is third in line; 1 on here frees in about 6 min."
    assert "2 jobs of higher priority, or older, are ahead." in shown["evidence"]
    assert "It needs 1 device; 0 of 2 on the machines that are up are free." in shown["evidence"]
    assert f"0 on here is held by slow ({holder}), which has about 60 min left." in shown["evidence"]
    assert explain(service, urgent)["sentence"].startswith("It is first in line;")
    assert explain(service, older)["sentence"].startswith("It is second in line;")
    set_job(service, job_id, executor="slurm")
    add(service, worker("login", slurm={}))
    assert explain(service, job_id)["sentence"].startswith("It is first in line to be submitted")


def test_the_limit_of_its_sweep_holds_a_job_up_and_does_not_count_for_others(service: Service) -> None:
    add(
        service,
        worker(devices=["0", "1", "2"]),
        Sweep(id="swp_1", name="", owner="a", base={}, grid={}, max_parallel=2),
    )
    for name in ("a", "b"):
        set_job(service, running(service, name, 60), sweep="swp_1")
    job_id = service.submit()
    set_job(service, job_id, sweep="swp_1")
    shown = explain(service, job_id)
    assert shown["sentence"] == "Its sweep runs 2 jobs at once, and all of these places are taken."
    assert explain(service, service.submit())["sentence"].startswith("It is first in line")
    with transaction(service.app.state.engine) as session:
        session.execute(update(Sweep).values(max_parallel=4))
    assert "2 of the 4 jobs of its sweep that may run at once are running." in explain(service, job_id)["evidence"]


def test_a_job_that_is_too_large_is_told_what_to_change(service: Service) -> None:
    add(service, worker())
    job_id = service.submit(EXPERT | {"resources": {"cpus": 99}})
    shown = explain(service, job_id)
    assert shown["sentence"] == "No machine that is up is large enough for it."
    assert "change resources.cpus, or add a larger machine" in shown["evidence"][-1]
    change = shown["actions"][0]
    assert change["command"] == f"mcn resume {job_id} --set resources.cpus=4"
    assert (change["label"], change["body"]) == ("Change it to 4 threads", {"resources": {"cpus": 4}})
    assert service.post(change["path"], change["body"]).status_code == 202
    assert explain(service, job_id)["sentence"].startswith("It is first in line")


def test_a_job_that_no_machine_fits_says_so_instead_of_blaming_a_process(service: Service) -> None:
    job_id = service.submit(EXPERT | {"resources": {"memory_gb": 900, "cpus": 64, "gpus": 2}})
    assert not start_next(service.context, "local")
    add(service, worker("here", cpus=2, memory_gb=8.4))
    shown = explain(service, job_id)
    assert shown["sentence"] == "It did not start, because no machine was large enough for it."
    assert shown["evidence"] == [
        "The job requests 2 GPUs, but the machines of this service have none; it requests 64 threads, but they have "
        "at most 4; it requests 900 GiB of memory, but they have at most 8: change resources.gpus, resources.cpus, "
        "resources.memory_gb, then retry."
    ]
    [retry] = shown["actions"]
    assert retry["label"] == "Retry with 0 GPUs, 4 threads and 8 GiB of memory"
    options = "--set resources.gpus=0 --set resources.cpus=4 --set resources.memory_gb=8"
    assert retry["command"] == f"mcn retry {job_id} {options}"
    assert service.post(retry["path"], retry["body"]).status_code == 202
    assert explain(service, job_id)["sentence"].startswith("It is first in line and a device is free")


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
    assert explain(service, job_id)["evidence"][0] == "Attempt 1 resumed from step 60."
    assert "The worker on here has not been heard from" in explain(service, job_id)["evidence"][1]
    set_job(service, job_id, progress=None)
    assert "first report has not arrived" in explain(service, job_id)["sentence"]


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


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_with_what_to_do(service: Service, reason: Reason) -> None:
    job_id = service.submit()
    set_job(service, job_id, state="failed", reason=reason.value, message="first line\nsecond", attempt=1)
    shown = explain(service, job_id)
    assert shown["sentence"] == f"It failed because {FAILURES[reason]}."
    assert shown["evidence"] == ["First line.", ADVICE[reason]]
    assert shown["actions"]
    set_job(service, job_id, state="queued", message=None)
    assert REQUEUED[reason] in explain(service, job_id)["evidence"]


@pytest.mark.parametrize(
    ("reason", "resources", "command", "body"),
    [
        ("out_of_memory", {"memory_gb": 6}, "resources.memory_gb=12", {"memory_gb": 12}),
        ("out_of_memory", {}, "resources.memory_gb=32", {"memory_gb": 32}),
        ("time_limit", {"time_limit_min": 30}, "resources.time_limit_min=60", {"time_limit_min": 60}),
        ("lost", {}, "", None),
    ],
)
def test_a_retry_has_more_of_what_was_missing(
    service: Service, reason: str, resources: dict[str, Any], command: str, body: dict[str, Any] | None
) -> None:
    job_id = service.submit(EXPERT | {"resources": resources})
    set_job(service, job_id, state="failed", reason=reason)
    retry = explain(service, job_id)["actions"][0]
    assert retry["command"] == f"mcn retry {job_id}" + (f" --set {command}" if command else "")
    assert retry["body"] == (body and {"resources": body})
    assert service.post(retry["path"], retry["body"]).status_code == 202


def attempted(service: Service, resources: dict[str, Any], message: str, reason: str, **columns: Any) -> str:
    """A job whose first attempt failed on the machine `here`."""
    job_id = service.submit(EXPERT | {"resources": resources, "training": {"batch_size": 128}} | columns)
    set_job(service, job_id, state="failed", reason=reason, message=message, attempt=1)
    add(service, Attempt(job_id=job_id, number=1, executor="local", host="here", devices=[]))
    return job_id


def test_no_more_memory_is_suggested_than_a_machine_has(service: Service) -> None:
    add(service, worker(memory_gb=23.4))
    job_id = attempted(service, {"memory_gb": 4}, "out of memory", "out_of_memory")
    # The machine enforces no limit, so that the job had all of its memory.
    shown = explain(service, job_id)
    assert shown["actions"][0]["command"].endswith("| mcn submit - --set training.batch_size=64")
    assert "smaller training.batch_size" in shown["evidence"][-1]
    assert "retry" not in " ".join(action["command"] for action in shown["actions"])
    set_job(service, job_id, spec=service.get(f"/jobs/{job_id}").json()["spec"] | {"training": {"batch_size": None}})
    assert explain(service, job_id)["actions"][0]["command"].endswith("--set training.batch_size=VALUE")
    add(service, worker("large", memory_gb=31.9))
    retry = explain(service, job_id)["actions"][0]
    assert (retry["command"], retry["body"]) == (
        f"mcn retry {job_id} --set resources.memory_gb=31", {"resources": {"memory_gb": 31}},
    )  # fmt: skip


def test_a_job_without_its_data_set_is_retried_once_it_is_there(service: Service) -> None:
    message = "the data set cifar100 is not available (no data root has it). Put it there"
    job_id = attempted(service, {}, message, "code_error")
    shown = explain(service, job_id)
    assert shown["sentence"] == "It failed because its data set is not on the machine."
    assert shown["evidence"][-1] == "Once it is there, retry the job."
    assert shown["actions"][0]["command"] == f"mcn retry {job_id}"


def test_a_job_whose_data_have_changed_is_retried_with_its_own_data_or_submitted_anew(service: Service) -> None:
    message = "npz:a.npz has changed since this run began (images changed), so the run cannot continue with it"
    job_id = attempted(service, {}, message, "code_error")
    shown = explain(service, job_id)
    assert shown["sentence"] == "It failed because its data are no longer those that it began to train on."
    assert "images changed" in shown["evidence"][0]
    commands = [action["command"] for action in shown["actions"]]
    assert commands[:2] == [f"mcn retry {job_id}", f"mcn show {job_id} --json | mcn submit -"]


def test_a_fault_of_the_specification_is_mended_in_a_copy(service: Service) -> None:
    job_id = attempted(service, {}, "fusion.heads: 5 does not divide D = 128", "code_error")
    shown = explain(service, job_id)
    assert shown["sentence"] == "It failed because it cannot be trained as its specification says."
    assert "submit a changed copy" in shown["evidence"][-1]
    labels = [action["label"] for action in shown["actions"]]
    assert labels == ["Submit a changed copy", "Read the log", "Retry"]
    for message in ("KeyError: 'x'", "x\nTraceback", "the training process could not be started: no python"):
        set_job(service, job_id, message=message)
        assert explain(service, job_id)["sentence"] == f"It failed because {FAILURES[Reason.code_error]}."


def test_what_cannot_be_retried_is_not_offered_for_a_retry(service: Service) -> None:
    first, second = waiting(service)
    set_job(service, first, state="failed")
    set_job(service, second, state="cancelled", reason="user")
    assert [action["path"] for action in explain(service, second)["actions"]] == [f"/jobs/{first}/retry"]
    set_job(service, first, state="running")
    assert [action["path"] for action in explain(service, second)["actions"]] == [f"/jobs/{second}/retry"]
    set_job(service, first, state="failed")
    assert service.call("DELETE", f"/jobs/{first}").status_code == 200
    for state, reason in (("cancelled", "user"), ("failed", "dependency_failed")):
        set_job(service, second, state=state, reason=reason)
        shown = explain(service, second)
        [evidence] = shown["evidence"]
        assert evidence.startswith(f"It cannot be retried as it is: experts.0.from: there is no job {first}")
        assert [action["label"] for action in shown["actions"]] == ["Submit a changed copy"]
    assert service.post(f"/jobs/{second}/retry").status_code == 409


def test_ids_keep_their_letters_at_the_beginning_of_a_sentence(service: Service) -> None:
    first, second = waiting(service)
    set_job(service, second, state="failed", reason="lost", message=f"{first} is gone")
    assert explain(service, second)["evidence"][0] == f"The job {first} is gone."


def test_a_succeeded_job_names_a_command_that_works(service: Service) -> None:
    job_id = service.submit()
    set_job(service, job_id, state="succeeded")
    assert explain(service, job_id)["actions"][0]["command"] == f"mcn components {job_id}"


def test_a_job_whose_dependency_failed_says_which_to_retry_first(service: Service) -> None:
    first, second = waiting(service)
    set_job(service, first, state="failed")
    set_job(service, second, state="failed", reason="dependency_failed")
    shown = explain(service, second)
    assert f"one ({first}) is failed." in shown["evidence"]
    assert [action["path"] for action in shown["actions"]] == [f"/jobs/{first}/retry"]


def test_retrying_what_cannot_succeed_is_not_offered(service: Service) -> None:
    job_id = service.submit()
    set_job(service, job_id, state="failed", reason="loss_not_finite", attempt=1)
    assert [action["label"] for action in explain(service, job_id)["actions"]] == [
        "Submit a changed copy", "Read the log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("stopped early: rank 4 of 5", "Early stopping ended it"),
        ("cancelled in Slurm with scancel", "It was cancelled in Slurm."),
        (None, "A user cancelled it."),
    ],
)
def test_a_cancelled_job_says_who_cancelled_it(service: Service, message: str | None, sentence: str) -> None:
    job_id = service.submit()
    set_job(service, job_id, state="cancelled", reason="user", message=message)
    assert explain(service, job_id)["sentence"].startswith(sentence)


def test_numbers_and_times_are_said_in_words() -> None:
    assert [ordinal(n) for n in (1, 10, 11, 12, 21, 22, 111)] == [
        "first",
        "tenth",
        "11th",
        "12th",
        "21st",
        "22nd",
        "111th",
    ]
    assert [count(n, "job") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    times = (0.2, 7, 43, 300, 7200, 200_000)
    assert [about(s) for s in times] == [
        "about 1 s", "about 7 s", "about 40 s", "about 5 min", "about 2 h", "about 2 days",
    ]  # fmt: skip
    assert plain("no space\nmore") == "No space."
