"""The certificate of a job: what its attempts reported, and the sentence that follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.db import transaction
from app.models import Attempt, Job, State
from core.run.durable import write_manifest
from core.run.environment import Device, Environment, Software
from core.run.identity import RunIdentity
from core.run.rundir import RunDir
from tests.app.api import EXPERT, EventFile, Service
from worker.ingest import ingest

CPU = Device("cpu", "a CPU", "avx2")
GPU = replace(CPU, type="cuda", gpu="a GPU", driver="550.1")
HERE = Environment(Software("c0de", {"torch": "2.15.0"}), CPU, "float32", 2, 1)
ON_GPU = replace(HERE, device=GPU)
OTHER = replace(HERE, software=Software("c0de", {"torch": "2.16.0"}))
DATA = {"dataset": "digits", "sha256": "d" * 64, "num_parts": 1, "size_bytes": 57_523}
BEGUN = RunIdentity("1" * 64, DATA)


def report(service: Service, job_id: str, *attempts: tuple[int, Environment], **changes: Any) -> None:
    """Ingests the events of attempts that began at these steps in these environments."""
    identity = replace(BEGUN, **changes)
    for number, (step, environment) in enumerate(attempts, start=1):
        identity = identity.continued(step, environment)
        if number > 1:
            service.transition(job_id, State.queued)
        service.transition(job_id, State.starting, attempt=number)
        run = RunDir(service.settings.runs_dir / job_id).attempt(number)
        row = Attempt(job_id=job_id, number=number, executor="local", host="here", devices=["cpu"])
        with transaction(service.app.state.engine) as session:
            session.add(row)
            session.flush()
            session.refresh(row)
            session.expunge(row)
        checkpoint = {"step": step, "sha256": "c" * 64} if number > 1 else None
        events = EventFile(run.events)
        data = {"environment": environment.to_json(), "resumed_from": checkpoint, "run": identity.to_json()}
        events.add("identity", data)
        events.add("state", {"state": "running", "step": step})
        ingest(service.app.state.engine, row, run.events)


def keys(service: Service, job_id: str) -> tuple[str | None, ...]:
    with transaction(service.app.state.engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job.data_sha256, job.software_key, job.device_key


def certificate(service: Service, job_id: str) -> dict[str, Any]:
    answer = service.get(f"/jobs/{job_id}/provenance")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_nothing_is_claimed_before_the_first_attempt(service: Service) -> None:
    content = certificate(service, service.submit())
    assert (content["bit_exact"], content["identity"], content["attempts"]) == (None, None, [])
    assert content["sentence"] == "bit-exact: not known yet, since no attempt has started to train"


def test_an_uninterrupted_run_is_bit_exact(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE))
    service.transition(job_id, State.succeeded, device_key=CPU.key)
    content = certificate(service, job_id)
    assert content["sentence"].startswith("bit-exact: yes, the same specification, data, software and device")
    assert (content["bit_exact"], content["data"]) == (True, DATA)
    assert content["attempts"][0]["environment"]["software"]["libraries"] == {"torch": "2.15.0"}
    assert keys(service, job_id) == (DATA["sha256"], HERE.software.key, CPU.key)


def test_a_run_that_resumed_in_the_same_environment_is_bit_exact(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, HERE))
    service.transition(job_id, State.succeeded)
    content = certificate(service, job_id)
    assert content["sentence"].endswith("give these bits, although it was resumed from a checkpoint 1 time")
    assert content["attempts"][1]["resumed_from"] == {"step": 40, "sha256": "c" * 64}


@pytest.mark.parametrize("state", [None, State.pausing])
def test_of_a_job_that_goes_on_nothing_is_known_yet(service: Service, state: State | None) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE))
    service.transition(job_id, *([state] if state else []))
    content = certificate(service, job_id)
    assert content["bit_exact"] is None
    so_far = "bit-exact: not known until the job has ended; so far its data, software and device are recorded"
    assert content["sentence"] == so_far
    service.transition(job_id, State.succeeded)
    assert certificate(service, job_id)["bit_exact"] is True


def test_of_a_job_that_goes_on_after_an_interruption_it_is_said_what_that_changed(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, HERE))
    assert certificate(service, job_id)["sentence"].endswith(
        "its data, software and device are recorded, and its interruptions have changed none of them"
    )


def test_another_version_of_torch_is_named_with_its_first_step(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, OTHER))
    content = certificate(service, job_id)
    assert content["sentence"] == "bit-exact: no, from step 40 on torch 2.16.0 instead of 2.15.0"
    assert (content["bit_exact"], content["changes"]) == (False, {"40": ["torch 2.16.0 instead of 2.15.0"]})
    # No other job may take this result for its own.
    assert keys(service, job_id) == (DATA["sha256"], None, None)


def test_the_attempt_that_changed_the_environment_says_so(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (1_040, OTHER), (1_080, OTHER))
    items = service.get(f"/jobs/{job_id}/attempts").json()["items"]
    change = "from step 1,040 on torch 2.16.0 instead of 2.15.0: not bit-comparable to an uninterrupted run"
    assert [item["changed_environment"] for item in items] == [None, change, None]


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_gpu_is_bit_exact_only_with_determinism(service: Service, deterministic: bool) -> None:
    job_id = service.submit(EXPERT | {"training": {"deterministic": deterministic}})
    report(service, job_id, (0, ON_GPU))
    service.transition(job_id, State.succeeded)
    assert certificate(service, job_id)["bit_exact"] is deterministic


def test_a_run_that_an_earlier_version_began_is_not_certified(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (40, HERE), complete=False)
    assert "an earlier version computed its first steps" in certificate(service, job_id)["sentence"]
    assert keys(service, job_id) == (DATA["sha256"], None, None)


def test_a_run_whose_data_are_not_known_is_not_certified(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), data=None)
    service.transition(job_id, State.succeeded)
    content = certificate(service, job_id)
    assert content["sentence"] == "bit-exact: no, the content of its data is not known"
    assert (content["bit_exact"], content["data"]) == (False, None)


def test_a_run_whose_data_changed_while_it_trained_is_not_certified(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), data_changed=True)
    # No other job may take this result for its own.
    assert keys(service, job_id) == (DATA["sha256"], None, None)
    service.transition(job_id, State.succeeded)
    content = certificate(service, job_id)
    assert content["sentence"] == "bit-exact: no, its data changed while it trained"
    assert (content["bit_exact"], content["identity"]) == (False, None)


@pytest.mark.parametrize("recorded", [True, False])
def test_published_weights_have_to_be_recorded(service: Service, recorded: bool) -> None:
    job_id = service.submit(EXPERT | {"expert": {"arch": "timm:resnet10t", "pretrained": True}})
    report(service, job_id, (0, HERE), pretrained={"expert": "e" * 64} if recorded else {})
    service.transition(job_id, State.succeeded)
    content = certificate(service, job_id)
    assert content["bit_exact"] is recorded
    reason = "the published weights that expert started from were not recorded"
    assert (content["sentence"] == f"bit-exact: no, {reason}") is not recorded


def test_checkpoints_are_listed_with_their_parents(service: Service) -> None:
    job_id = service.submit()
    folder = RunDir(service.settings.runs_dir / job_id).checkpoints
    for step, parent in ((10, None), (20, "a" * 64)):
        file = folder / f"step-{step:09d}" / "manifest.json"
        file.parent.mkdir(parents=True)
        write_manifest(file, {"step": step, "epoch": 1, "sha256": "b" * 64, "bytes": 9, "parent": parent})
    (folder / "step-000000020" / "manifest.json").write_text("{}")
    [checkpoint] = certificate(service, job_id)["checkpoints"]
    expected = {"step": 10, "epoch": 1, "sha256": "b" * 64, "bytes": 9, "parent": None, "identity": None}
    assert checkpoint == expected


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (State.failed, "loss_not_finite", "the job failed (loss_not_finite)"),
        (State.cancelled, "user", "the job was cancelled"),
    ],
)
def test_a_job_without_a_result_is_not_called_bit_exact(
    service: Service, state: State, reason: str, words: str
) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE))
    service.transition(job_id, *([State.cancelling] if state == State.cancelled else []), state, reason=reason)
    content = certificate(service, job_id)
    assert content["bit_exact"] is None
    assert content["sentence"] == f"bit-exact: not claimed, since {words} and has no result"


def test_a_failed_job_that_changed_its_environment_says_so(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, OTHER))
    service.transition(job_id, State.failed, reason="out_of_memory")
    content = certificate(service, job_id)
    assert content["bit_exact"] is False
    assert content["sentence"] == "bit-exact: no, from step 40 on torch 2.16.0 instead of 2.15.0"


def test_checkpoints_that_are_no_longer_kept_are_named_as_far_as_they_are_known(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (0, HERE), (40, OTHER))
    folder = RunDir(service.settings.runs_dir / job_id).checkpoints
    for step, digest, parent in ((80, "b", "a"), (90, "d", "b")):
        file = folder / f"step-{step:09d}" / "manifest.json"
        file.parent.mkdir(parents=True)
        write_manifest(file, {"step": step, "epoch": 1, "sha256": 64 * digest, "bytes": 9, "parent": 64 * parent})
    content = certificate(service, job_id)
    assert [row["step"] for row in content["checkpoints"]] == [80, 90]
    assert content["removed_checkpoints"] == [
        {"step": 40, "sha256": 64 * "c", "known_because": "attempt 2 resumed from it"},
        {"step": None, "sha256": 64 * "a", "known_because": "parent of step 80"},
    ]
    assert content["known"] == [
        "The environment is recorded from step 0 on, changed at step 40",
        "2 checkpoints are kept, of steps 80, 90; no longer kept: step 40 (attempt 2 resumed from it), the parent of "
        "step 80, whose own step is not recorded. Others that newer ones replaced are not recorded",
    ]


def test_steps_of_an_earlier_version_are_said_to_be_unknown(service: Service) -> None:
    job_id = service.submit()
    report(service, job_id, (40, HERE), complete=False)
    assert certificate(service, job_id)["known"] == [
        "The environment is recorded from step 40 on; an earlier version, which did not record it, computed the steps "
        "before",
        "No checkpoint is kept",
    ]


def test_a_job_that_does_not_exist_is_not_found(service: Service) -> None:
    assert service.get("/jobs/job_nothing/provenance").status_code == 404
