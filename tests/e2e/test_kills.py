"""SIGKILL of every process at any moment: no job is lost or run twice, and the result has the same bits."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from app.cli.client import TERMINAL_STATES
from tests.e2e.fixtures import Undisturbed
from tests.e2e.running import KINDS, Proof, Running, expert, fusion, once


def kill_api(up: Running) -> None:
    up.kill("api")


def kill_worker(up: Running) -> None:
    up.kill("worker")


def kill_training(up: Running) -> None:
    for process in up.training():
        process.kill()


def kill_everything(up: Running) -> None:
    up.kill_everything()
    up.start()


KILLS: dict[str, Callable[[Running], None]] = {
    "api": kill_api,
    "worker": kill_worker,
    "training": kill_training,
    "everything": kill_everything,
}


def check(up: Running, job_id: str, expected: Proof) -> None:
    """Checks that a disturbed job ended as an undisturbed one and that no two attempts overlapped."""
    job = up.wait(job_id)
    assert job["state"] == "succeeded", job["message"]
    assert up.proof(job_id) == expected
    assert expected.steps == sorted(set(expected.steps))
    attempts = up.api.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["number"] for attempt in attempts] == list(range(1, job["attempt"] + 1))
    for before, after in itertools.pairwise(attempts):
        assert before["ended_at"] <= after["started_at"]
    once(
        lambda: not any(job_id in " ".join(process.cmdline()) for process in up.training()),
        "end of the training process",
    )
    assert up.api.get("/cluster")["workers"][0]["devices"][0]["job"] != job_id


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A second service, which the tests of this module may stop and start."""
    service = Running(tmp_path_factory.mktemp("own") / "data")
    service.start()
    yield service
    service.stop()
    kill_training(service)


@pytest.mark.parametrize("part", ["api", "worker", "training"])
def test_a_killed_process_changes_no_result(part: str, up: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = up.submit(fusion())
    up.wait_step(job_id, 10)
    [before] = up.training()
    pid = up.pid(part) if part != "training" else None
    KILLS[part](up)
    if pid is not None:
        once(lambda: up.pid(part) not in (None, pid), f"restart of the {part}")
    check(up, job_id, expected)
    attempts = up.job(job_id)["attempt"]
    # Training continues without the service; only the death of its own process starts a new attempt.
    assert attempts == (2 if part == "training" else 1)
    assert not psutil.pid_exists(before.pid) or before.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("kind", ["expert", "head", "evaluate"])
def test_a_killed_job_of_each_kind_ends_with_the_same_bits(kind: str, up: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed[kind]
    job_id = up.submit(up.spec(kind))
    # An evaluation is short: it is killed as soon as its process exists.
    up.wait_step(job_id, 10) if expected.steps else once(lambda: bool(up.training()), "start")
    kill_training(up)
    check(up, job_id, expected)
    assert up.job(job_id)["attempt"] == 2


def test_jobs_continue_after_everything_was_killed_and_restarted(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id, waiting = own.submit(fusion()), own.submit(fusion())
    own.wait_step(job_id, 10)
    kill_everything(own)
    check(own, job_id, expected)
    assert own.job(job_id)["attempt"] == 2
    own.wait(waiting)
    assert own.proof(waiting) == expected


def test_a_job_killed_before_its_first_step_starts_again(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = own.submit(fusion())
    own.wait(job_id, "starting", "running")
    kill_everything(own)
    check(own, job_id, expected)


def test_ctrl_c_stops_the_service_but_not_the_training(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = own.submit(fusion())
    own.wait_step(job_id, 10)
    assert f"1 job continues to train without the service: {job_id}" in own.stop()
    assert len(own.training()) == 1
    own.start()
    check(own, job_id, expected)
    assert own.job(job_id)["attempt"] == 1


def test_stop_jobs_pauses_running_jobs_and_starts_no_others(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    own.stop()
    own.start("--stop-jobs")
    job_id, queued = own.submit(fusion()), own.submit(expert(epochs=1))
    own.wait_step(job_id, 10)
    printed = own.stop()
    assert f"Pausing {job_id}" in printed
    assert queued not in printed
    assert "No jobs are running" in printed
    assert not own.training()
    own.start()
    assert own.job(job_id)["state"] == "paused"
    own.api.post(f"/jobs/{job_id}/resume")
    check(own, job_id, expected)
    assert own.wait(queued)["state"] == "succeeded"


def test_a_job_that_keeps_dying_fails_after_its_last_attempt(up: Running) -> None:
    # A new checkpoint would be progress.
    job_id = up.submit(fusion(epochs=5000) | {"max_attempts": 2, "checkpoint": {"every_epochs": 5000}})
    for attempt in (1, 2):
        once(lambda attempt=attempt: up.job(job_id)["attempt"] == attempt and bool(up.training()), "start")  # type: ignore[misc]
        up.wait(job_id, "running")
        kill_training(up)
    job = up.wait(job_id, "failed")
    assert (job["reason"], job["attempt"]) == ("lost", 2)
    assert "2 times in a row without a new checkpoint" in job["message"]


RESTART_LIMIT_S = 30.0


@pytest.mark.soak
def test_fifty_random_kills(own: Running, undisturbed: Undisturbed) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for kind in list(KINDS) * 7:
        expected = undisturbed[kind]
        job_id = own.submit(own.spec(kind))
        for _ in range(2):
            moment = chance.uniform(0.0, 0.7 * undisturbed.seconds[kind])
            began = time.monotonic()
            once(lambda began=began, moment=moment: time.monotonic() - began > moment, "the random moment")  # type: ignore[misc]
            KILLS[chance.choice(list(KILLS))](own)
            continues(own, job_id)
        check(own, job_id, expected)


def continues(up: Running, job_id: str) -> None:
    """Waits until a job trains again after a kill, or has ended."""

    def is_active() -> bool:
        with contextlib.suppress(Exception):  # the API may be restarting
            return up.job(job_id)["state"] in TERMINAL_STATES or any(
                job_id in " ".join(process.cmdline()) for process in up.training()
            )
        return False

    once(is_active, f"restart of {job_id}", RESTART_LIMIT_S)
