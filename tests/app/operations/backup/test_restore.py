"""`mcn restore`: everything is there again, or nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.db import now, reading, transaction
from app.models import Attempt, FileDeletion, RetentionRun, State
from app.settings import Settings
from core.run.durable import write_manifest
from tests.app.api import Service
from tests.app.fixtures import service_on
from tests.app.operations.backup.conftest import Mcn
from tests.app.operations.backup.services import files_below, give_files, start, write
from worker.context import WorkerContext
from worker.lost_workers import kill_leftovers
from worker.reconcile import reconcile_local


def test_a_service_is_restored_with_its_tokens_jobs_and_files(
    service: Service, mcn: Mcn, backup: Path, tmp_path: Path
) -> None:
    before = files_below(service.settings.runs_dir)
    [running] = [job["id"] for job in service.get("/jobs?state=running").json()["items"]]
    jobs = service.get("/jobs").json()["items"]
    settings = Settings(data_dir=tmp_path / "restored")
    result = mcn(settings.data_dir, "restore", backup)
    assert result.exit_code == 0, result.output
    assert "2 jobs and" in result.stdout
    assert "Not in the backup: data sets" in result.stdout
    assert "1 job will resume from the latest checkpoint" in result.stdout
    after = files_below(settings.runs_dir)
    # The process that ran the job is not one of the restored service.
    claim, outcome = f"{running}/attempt-1/process.json", f"{running}/attempt-1/outcome.json"
    assert json.loads(after.pop(claim))["pid"] == 0
    assert json.loads(after.pop(outcome))["kind"] == "stopped"
    assert after == {name: content for name, content in before.items() if name != claim and "/." not in name}
    component = settings.runs_dir / running / "components"
    assert (component / "expert_0.pth").samefile(component / "blobs/expert_0-1.pth")
    assert settings.data_dir.stat().st_mode & 0o077 == 0
    assert backup.stat().st_mode & 0o077 == 0
    with service_on(settings) as restored:
        assert restored.tokens["admin"] == service.tokens["admin"]
        restored.tokens = service.tokens
        assert restored.get("/jobs", "alice").json()["items"] == jobs


@pytest.mark.parametrize(
    ("state", "then"), [(State.running, "queued"), (State.pausing, "paused"), (State.cancelling, "cancelled")]
)
@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_job_that_ran_goes_on_without_the_process_of_the_first_service(
    service: Service, mcn: Mcn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State, then: str, host: str
) -> None:
    killed: list[int] = []
    for name in ("kill", "killpg"):
        monkeypatch.setattr(os, name, lambda pid, number: killed.append(pid) if number else None)
    job_id = service.submit()
    give_files(service, job_id)
    start(service, job_id)
    if state is not State.running:
        service.transition(job_id, state)
    with transaction(service.app.state.engine) as session:
        attempt = session.get_one(Attempt, (job_id, 1))
        attempt.host, attempt.slurm_job_name = host, "mcn-1"
        session.add(attempt)
    assert mcn(service.settings.data_dir, "backup", tmp_path / "backup").exit_code == 0
    settings = Settings(data_dir=tmp_path / "restored")
    assert mcn(settings.data_dir, "restore", tmp_path / "backup").exit_code == 0
    settings.no_new_starts.touch()
    with service_on(settings) as restored:
        context = restored.context
        reconcile_local(context)
        # A worker of the first one's name looks for what is left of attempts that others have ended.
        kill_leftovers(WorkerContext(settings, context.engine, host, context.capacity, context.executors))
        job = restored.get(f"/jobs/{job_id}").json()
        assert (job["state"], job.get("failures", 0)) == (then, 0)
        with reading(restored.app.state.engine) as session:
            attempt = session.get_one(Attempt, (job_id, 1))
            assert (attempt.ended_at is not None, attempt.outcome) == (True, "stopped")
            assert killed == []
            assert (attempt.slurm_job_name, attempt.slurm_job_id) == (None, None)


def test_a_data_folder_in_use_is_left_alone(service: Service, mcn: Mcn, backup: Path) -> None:
    before = files_below(service.settings.runs_dir)
    result = mcn(service.settings.data_dir, "restore", backup)
    assert result.exit_code == 1
    assert "is not empty: admin-token, mcn.db" in result.stderr
    assert "set MCN_DATA_DIR to an empty folder" in result.stderr
    assert files_below(service.settings.runs_dir) == before


def test_the_socket_of_a_killed_worker_is_not_in_the_way(mcn: Mcn, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored/warm-77459bcf.sock").touch()
    result = mcn(tmp_path / "restored", "restore", backup)
    assert result.exit_code == 0, result.output


def test_a_database_elsewhere_must_not_be_there_yet(mcn: Mcn, backup: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "other.db")
    result = mcn(tmp_path / "restored", "restore", backup, url=f"sqlite:///{file}")
    assert (result.exit_code, f"{file} is in the way" in result.stderr) == (1, True), result.output
    assert file.read_text() == "content"


def damage_component(folder: Path) -> None:
    [file, *_] = folder.rglob("expert_0.pth")
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)


def change_manifest(folder: Path, **fields: Any) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["manifest_sha256"]
    content["database"] |= fields.pop("database", {})
    write_manifest(folder / "manifest.json", content | fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "there is no backup"),
        (lambda folder: (folder / "manifest.json").unlink(), "is not a complete backup: it has no manifest.json"),
        (lambda folder: write(folder / "manifest.json", "{}"), "is damaged"),
        (lambda folder: write(folder / "manifest.json", '{"format": 1}'), "is damaged"),
        (lambda folder: write_manifest(folder / "manifest.json", {"format": 1}), "is not a backup"),
        (lambda folder: write_manifest(folder / "manifest.json", {"format": 2}), "use a newer version"),
        (lambda folder: change_manifest(folder, files=[{"path": "../x", "bytes": 0, "sha256": ""}]), "is not a backup"),
        (lambda folder: change_manifest(folder, database={"revision": "9999"}), "made by a newer version"),
        (lambda folder: change_manifest(folder, database={"kind": "postgresql"}), "the backup is of PostgreSQL"),
        (damage_component, "expert_0.pth, which was changed (its SHA-256 differs): use another backup"),
        (lambda folder: (folder / "database.sqlite").unlink(), "database.sqlite, which is missing"),
        (lambda folder: (folder / "database.sqlite").write_bytes(b""), "database.sqlite, which was changed"),
    ],
)
def test_nothing_is_changed_for_a_backup_that_is_not_intact(
    mcn: Mcn, backup: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    change(backup)
    result = mcn(tmp_path / "restored", "restore", backup)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert not (tmp_path / "restored").exists()


def test_a_name_that_is_too_long_is_wrong_usage(mcn: Mcn, service: Service, tmp_path: Path) -> None:
    for command in ("backup", "restore"):
        result = mcn(service.settings.data_dir, command, tmp_path / ("x" * 300))
        assert (result.exit_code, "File name too long" in result.stderr) == (2, True), result.output


def test_a_backup_of_an_earlier_version_is_upgraded(mcn: Mcn, service: Service, tmp_path: Path) -> None:
    from alembic import command

    from app.db.migrations import alembic_config

    data_dir = tmp_path / "old"
    data_dir.mkdir()
    command.upgrade(alembic_config(f"sqlite:///{data_dir}/mcn.db"), "0010")
    assert mcn(data_dir, "backup", tmp_path / "backup").exit_code == 0
    result = mcn(tmp_path / "restored", "restore", tmp_path / "backup", "--json")
    assert json.loads(result.stdout)["upgraded_from"] == "0010", result.output
    with service_on(Settings(data_dir=tmp_path / "restored")) as restored:
        assert restored.get("/readyz").status_code == 200


def test_a_backup_that_does_not_fit_is_refused_before_it_is_copied(
    mcn: Mcn, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("app.operations.backup.restore.shutil.disk_usage", lambda _: usage)
    result = mcn(tmp_path / "restored", "restore", backup)
    assert (result.exit_code, "no space left in" in result.stderr) == (1, True), result.output


def test_the_retention_policy_is_restored_with_files_that_are_still_to_be_removed(
    service: Service, mcn: Mcn, tmp_path: Path
) -> None:
    rule = {"name": "old", "states": ["failed"], "older_than_days": 30, "delete": "job"}
    assert service.call("PUT", "/retention", json={"rules": [rule]}).status_code == 200
    with transaction(service.app.state.engine) as session:
        session.add(FileDeletion(job_id="job_1"))
        session.add(RetentionRun(id="ret_1", started_at=now(), started_by="alice", jobs=3, bytes_freed=5 << 40))
    assert mcn(service.settings.data_dir, "backup", tmp_path / "backup").exit_code == 0
    settings = Settings(data_dir=tmp_path / "restored")
    assert mcn(settings.data_dir, "restore", tmp_path / "backup").exit_code == 0
    with service_on(settings) as restored:
        shown = restored.get("/retention").json()
        assert shown == service.get("/retention").json()
        assert (shown["policy"]["rules"][0]["name"], shown["runs"][0]["bytes_freed"]) == ("old", 5 << 40)
        with reading(restored.app.state.engine) as session:
            assert session.get(FileDeletion, "job_1") is not None
