"""SIGKILL of every part at random moments: no job lost, none run twice, the same bits at the end."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """What must be true of a job however it was disturbed."""
    job = up.wait(job_id)
    assert job["state"] == "succeeded", job["message"]
    assert up.proof(job_id) == expected
    assert expected.steps == sorted(set(expected.steps))
    attempts = up.api.get(f"/jobs/{job_id}/attempts")["items"]
    assert [attempt["number"] for attempt in attempts] == list(range(1, job["attempt"] + 1))
    # No two ran at the same time.
    for before, after in itertools.pairwise(attempts):
        assert before["ended_at"] <= after["started_at"]
    once(lambda: not any(job_id in " ".join(process.cmdline()) for process in up.training()), "the process's end")
    assert up.api.get("/cluster")["workers"][0]["devices"][0]["job"] != job_id


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A service of its own, for tests that end it."""
    service = Running(tmp_path / "data")
    service.start()
    yield service
    service.stop()
    kill_training(service)


@pytest.mark.parametrize("part", ["api", "worker", "training"])
def test_a_killed_part_costs_nothing(part: str, up: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = up.submit(fusion())
    up.wait_step(job_id, 10)
    [before] = up.training()
    pid = up.pid(part) if part != "training" else None
    KILLS[part](up)
    if pid is not None:
        once(lambda: up.pid(part) not in (None, pid), f"the return of the {part}")
    check(up, job_id, expected)
    attempts = up.job(job_id)["attempt"]
    # Training goes on while the service is away; only its own death costs it an attempt.
    assert attempts == (2 if part == "training" else 1)
    assert not psutil.pid_exists(before.pid) or before.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("kind", ["expert", "head", "evaluate"])
def test_a_killed_job_of_any_kind_ends_with_the_same_bits(kind: str, up: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed[kind]
    job_id = up.submit(up.spec(kind))
    # An evaluation is over in a moment: it is killed as soon as its process is there.
    up.wait_step(job_id, 10) if expected.steps else once(lambda: bool(up.training()), "the start")
    kill_training(up)
    check(up, job_id, expected)
    assert up.job(job_id)["attempt"] == 2


def test_everything_killed_at_once_goes_on_after_a_new_start(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id, waiting = own.submit(fusion()), own.submit(fusion())
    own.wait_step(job_id, 10)
    kill_everything(own)
    check(own, job_id, expected)
    assert own.job(job_id)["attempt"] == 2
    own.wait(waiting)
    assert own.proof(waiting) == expected


def test_killed_before_the_first_step_it_starts_again(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = own.submit(fusion())
    own.wait(job_id, "starting", "running")
    kill_everything(own)
    check(own, job_id, expected)


def test_ctrl_c_leaves_training_alone_and_says_so(own: Running, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    job_id = own.submit(fusion())
    own.wait_step(job_id, 10)
    said = own.stop()
    assert f"1 job goes on training without the service: {job_id}" in said
    assert len(own.training()) == 1
    own.start()
    check(own, job_id, expected)
    assert own.job(job_id)["attempt"] == 1


def test_stop_jobs_pauses_what_trains_and_starts_nothing_else(tmp_path: Path, undisturbed: Undisturbed) -> None:
    expected = undisturbed["fusion"]
    service = Running(tmp_path / "data")
    service.start("--stop-jobs")
    job_id, queued = service.submit(fusion()), service.submit(expert())
    service.wait_step(job_id, 10)
    said = service.stop()
    assert f"Pausing {job_id}" in said
    assert queued not in said
    assert "Nothing trains" in said
    assert not service.training()
    service.start()
    try:
        assert service.job(job_id)["state"] == "paused"
        service.api.post(f"/jobs/{job_id}/resume")
        check(service, job_id, expected)
        assert service.wait(queued)["state"] == "succeeded"
    finally:
        service.stop()
        kill_training(service)


def test_a_job_that_dies_again_and_again_is_given_up(up: Running) -> None:
    job_id = up.submit(fusion(epochs=5000) | {"max_attempts": 2})
    for attempt in (1, 2):
        once(lambda attempt=attempt: up.job(job_id)["attempt"] == attempt and bool(up.training()), "the start")  # type: ignore[misc]
        up.wait(job_id, "running")
        kill_training(up)
    job = up.wait(job_id, "failed")
    assert (job["reason"], job["attempt"]) == ("lost", 2)
    assert "2 times" in job["message"]


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
            once(lambda began=began, moment=moment: time.monotonic() - began > moment, "the moment")  # type: ignore[misc]
            KILLS[chance.choice(list(KILLS))](own)
            goes_on(own, job_id)
        check(own, job_id, expected)


def goes_on(up: Running, job_id: str) -> None:
    """Soon after a kill a job trains again, or has ended."""

    def moves() -> bool:
        with contextlib.suppress(Exception):  # the API may be away for a moment
            return up.job(job_id)["state"] in TERMINAL_STATES or any(
                job_id in " ".join(process.cmdline()) for process in up.training()
            )
        return False

    once(moves, f"the restart of {job_id}", RESTART_LIMIT_S)
