"""A job that has ended says why, and what to do next: what to change for a retry, or that only a copy can succeed."""

from __future__ import annotations

from typing import Any

import pytest

from app.db import transaction
from app.jobs.explain_ended import ADVICE, FAILURES, REQUEUED
from app.models import Attempt, Reason, State
from tests.app.api import EXPERT, Service
from tests.app.jobs.explaining import add, explain, set_job, waiting, worker
from worker.claims import start_next
from worker.dependencies import resolve_waiting_jobs


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


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason != Reason.dependency_failed])
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


def test_a_job_that_hung_may_be_retried_with_more_patience(service: Service) -> None:
    job_id = service.submit(EXPERT | {"resources": {"hang_timeout_min": 45}})
    set_job(service, job_id, state="failed", reason="hang")
    plain, patient = explain(service, job_id)["actions"][:2]
    assert (plain["label"], plain["body"]) == ("Retry", None)
    assert patient["label"] == "Retry with a hang timeout of 90 minutes"
    assert patient["command"] == f"mcn retry {job_id} --set resources.hang_timeout_min=90"
    assert service.post(patient["path"], patient["body"]).status_code == 202


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
    message = (
        "the data of npz:a.npz has changed since this run began (images changed), so the run cannot continue with it"
    )
    job_id = attempted(service, {}, message, "code_error")
    shown = explain(service, job_id)
    assert shown["sentence"] == "It failed because its data has changed since training began."
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


def test_a_job_whose_dependency_was_retried_says_to_retry_it_too(service: Service) -> None:
    first, second = waiting(service)
    service.transition(first, State.cancelled)
    with transaction(service.app.state.engine) as session:
        resolve_waiting_jobs(session)
    shown = explain(service, second)
    told = " ".join(shown["evidence"])
    assert told.count("retry that job") == 1, told
    assert service.post(f"/jobs/{first}/retry").is_success
    shown = explain(service, second)
    assert shown["evidence"] == [
        "The jobs that it depends on have been retried or have succeeded since: retry this one too."
    ]
    assert [action["path"] for action in shown["actions"]] == [f"/jobs/{second}/retry"]


def test_retrying_what_cannot_succeed_is_not_offered(service: Service) -> None:
    job_id = service.submit()
    set_job(service, job_id, state="failed", reason="loss_not_finite", attempt=1)
    explanation = explain(service, job_id)
    assert [action["label"] for action in explanation["actions"]] == ["Submit a changed copy", "Read the log"]
    assert explanation["evidence"][-1].endswith("lower learning rates, or with training.precision float32.")


def test_no_precision_is_advised_that_the_job_has_already(service: Service) -> None:
    job_id = service.submit(EXPERT | {"training": {"precision": "float32"}})
    set_job(service, job_id, state="failed", reason="loss_not_finite", attempt=1)
    assert explain(service, job_id)["evidence"] == ["Submit it again with lower learning rates."]


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
