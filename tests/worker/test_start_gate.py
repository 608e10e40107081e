"""A full disk pauses starts and fails no job; starts resume by themselves once there is room."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlmodel import Session

from app.jobs.disk_space import GB, disk_space
from app.models import Job
from app.settings import Settings
from core.run.rundir import AttemptDir
from tests.app.api import Service
from tests.app.jobs.explaining import explain
from tests.web.test_sweeps import read, text_of
from tests.worker.fake_executor import FakeExecutor, job_of, leases
from worker import start_gate
from worker.executors.base import Submission
from worker.executors.processes import ProcessHandle
from worker.reconcile import heartbeat, reconcile_local

SetFree = Callable[[float], None]


@pytest.fixture
def set_free(monkeypatch: pytest.MonkeyPatch) -> SetFree:
    """Sets how many GB of a disk of 100 GB are free."""

    def set_gb(free: float) -> None:
        usage = SimpleNamespace(free=int(free * GB), total=int(100 * GB))
        monkeypatch.setattr("app.jobs.disk_space.shutil.disk_usage", lambda _folder: usage)

    return set_gb


def state_of(service: Service, job_id: str) -> str:
    return str(job_of(service, job_id)["state"])


@pytest.mark.parametrize(
    ("total_gb", "setting", "min_free_gb"), [(1000, None, 5.0), (100, None, 2.0), (100, 7.5, 7.5), (100, 0.0, 0.0)]
)
def test_the_limit_is_the_setting_or_5_gb_or_2_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total_gb: int, setting: float | None, min_free_gb: float
) -> None:
    usage = SimpleNamespace(free=int(9 * GB), total=int(total_gb * GB))
    monkeypatch.setattr("app.jobs.disk_space.shutil.disk_usage", lambda _folder: usage)
    assert disk_space(Settings(data_dir=tmp_path, min_free_gb=setting)).min_free == min_free_gb * GB


def test_run_directories_on_a_disk_of_their_own_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path)
    free = {settings.data_dir: 50 * GB, settings.runs_dir: GB}
    monkeypatch.setattr(
        "app.jobs.disk_space.shutil.disk_usage", lambda folder: SimpleNamespace(free=free[folder], total=int(100 * GB))
    )
    assert disk_space(settings).is_low


def test_starts_pause_below_the_limit_and_resume_by_themselves_some_way_above_it(
    service: Service, executor: FakeExecutor, set_free: SetFree
) -> None:
    job_id = service.submit()
    for free, state in ((1.9, "queued"), (2.4, "queued"), (2.5, "starting")):
        set_free(free)
        reconcile_local(service.context)
        assert state_of(service, job_id) == state
    executor.living.clear()
    reconcile_local(service.context)
    # It is no limit for a worker that has not fallen below it.
    set_free(2.1)
    reconcile_local(service.context)
    assert job_of(service, job_id)["attempt"] == 2


def test_zero_switches_the_limit_off(service: Service, executor: FakeExecutor, set_free: SetFree) -> None:
    set_free(0.001)
    object.__setattr__(
        service.context, "start_gate", start_gate.StartGate(Settings(data_dir=service.settings.data_dir, min_free_gb=0))
    )
    job_id = service.submit()
    reconcile_local(service.context)
    assert state_of(service, job_id) == "starting"


def test_a_data_folder_that_cannot_be_reached_starts_nothing_and_stops_no_heartbeat(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_folder: Path) -> None:
        raise OSError(errno.ESTALE, "stale file handle")

    monkeypatch.setattr("app.jobs.disk_space.shutil.disk_usage", unreachable)
    job_id = service.submit()
    reconcile_local(service.context)
    assert state_of(service, job_id) == "queued"
    [worker] = service.get("/cluster").json()["workers"]
    assert (worker["alive"], worker["disk"]) == (True, None)


class FullDisk(FakeExecutor):
    """An executor that finds the disk full when it starts a process."""

    number = errno.ENOSPC
    starts = 0

    def submit(self, submission: Submission, attempts: Sequence[AttemptDir]) -> list[ProcessHandle]:
        self.starts += 1
        raise OSError(self.number, "no space left on device")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_start_without_space_fails_no_job_and_pauses_the_others(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, set_free: SetFree, number: int
) -> None:
    set_free(50)
    now = 1000.0
    monkeypatch.setattr(start_gate, "time", SimpleNamespace(monotonic=lambda: now))
    full = FullDisk(service.context.capacity)
    full.number = number
    jobs = [service.submit() for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setitem(service.context.executors, "local", full)
        for _ in range(3):
            reconcile_local(service.context)
    assert full.starts == 1
    for job_id in jobs:
        with Session(service.app.state.engine) as session:
            job = session.get_one(Job, job_id)
            assert (job.state, job.attempt, job.failures) == ("queued", 0, 0)
    first = job_of(service, jobs[0])["message"]
    assert first == "no space left on the disk of here: will start once there is room"
    assert leases(service) == []
    # There is room by the numbers: only another try can tell.
    shown = explain(service, jobs[0])
    assert shown["sentence"] == "It waits for disk space on here, where no job starts."
    assert any("a quota may be exhausted" in line for line in shown["evidence"])
    now += start_gate.PAUSE_S
    reconcile_local(service.context)
    assert state_of(service, jobs[0]) == "starting"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ESTALE])
def test_a_start_on_a_disk_that_has_become_read_only_fails_no_job(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, set_free: SetFree, number: int
) -> None:
    set_free(50)
    broken = FullDisk(service.context.capacity)
    broken.number = number
    monkeypatch.setitem(service.context.executors, "local", broken)
    jobs = [service.submit() for _ in range(2)]
    reconcile_local(service.context)
    assert broken.starts == 1
    assert [state_of(service, job_id) for job_id in jobs] == ["queued", "queued"]
    message = job_of(service, jobs[0])["message"]
    assert message.startswith("the run directories of here cannot be written (")
    assert message.endswith("): will start once they can")


def test_nothing_starts_while_run_directories_cannot_be_written(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch, set_free: SetFree
) -> None:
    set_free(50)
    access, refused = os.access, service.settings.runs_dir
    job_id = service.submit()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != refused and access(path, mode))
        heartbeat(service.context)
        reconcile_local(service.context)
        assert job_of(service, job_id)["attempt"] == 0
        [worker] = service.get("/cluster").json()["workers"]
        assert (worker["disk"]["starts_paused"], worker["disk"]["writable"]) == (True, False)
        shown = explain(service, job_id)
        assert shown["sentence"] == "It waits for a disk that can be written on here, where no job starts."
        assert "The run directories of here cannot be written" in shown["evidence"][-1]
        page = text_of(read(service, "/ui/cluster"))
        assert "No job starts here: the run directories cannot be written." in page
    reconcile_local(service.context)
    assert state_of(service, job_id) == "starting"


def test_other_errors_of_a_start_still_fail_the_job(
    service: Service, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FullDisk(service.context.capacity)
    broken.number = errno.EACCES
    monkeypatch.setitem(service.context.executors, "local", broken)
    job_id = service.submit()
    reconcile_local(service.context)
    assert (job_of(service, job_id)["state"], job_of(service, job_id)["reason"]) == ("failed", "code_error")


def test_the_cluster_its_page_and_queued_jobs_say_why_nothing_starts(
    service: Service, executor: FakeExecutor, set_free: SetFree
) -> None:
    set_free(1.23)
    job_id = service.submit()
    heartbeat(service.context)
    [worker] = service.get("/cluster").json()["workers"]
    expected: dict[str, Any] = {"free_gb": 1.2, "total_gb": 100.0, "min_free_gb": 2.0, "resume_at_gb": 2.5}
    assert worker["disk"] == expected | {"starts_paused": True, "writable": True}
    shown = explain(service, job_id)
    assert shown["sentence"] == "It waits for disk space on here, where no job starts."
    assert shown["evidence"] == [
        "The data folder of here has 1.2 GB free; below 2.0 GB no job starts. Delete old jobs: starts resume by "
        "themselves at 2.5 GB."
    ]
    page = text_of(read(service, "/ui/cluster"))
    assert "No job starts here: 1.2 GB are free in its data folder, and 2.5 GB are needed" in page
    # What has changed is reported at once, not only with the next regular heartbeat.
    set_free(30)
    heartbeat(service.context)
    assert service.get("/cluster").json()["workers"][0]["disk"]["starts_paused"] is False
    assert explain(service, job_id)["sentence"].startswith("It is first in line and a device is free")
    assert "No job starts here" not in text_of(read(service, "/ui/cluster"))
