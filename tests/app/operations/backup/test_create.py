"""`mcn backup`: what it writes, and what it refuses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from app.models import State
from tests.app.api import Service
from tests.app.operations.backup.conftest import Mcn
from tests.app.operations.backup.services import files_below, give_files, start, write


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("data", "is not empty: name a folder that is empty or not there yet"),
        ("data/mcn.db", "is a file"),
        ("none/backup", "create it first"),
        ("data/runs/backup", "is in the folder of the runs"),
    ],
)
def test_a_target_that_cannot_be_used_is_wrong_usage(
    service: Service, mcn: Mcn, tmp_path: Path, target: str, message: str
) -> None:
    before = set(files_below(tmp_path))
    result = mcn(service.settings.data_dir, "backup", tmp_path / target)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert set(files_below(tmp_path)) == before


def test_without_a_database_there_is_nothing_to_back_up(mcn: Mcn, tmp_path: Path) -> None:
    result = mcn(tmp_path / "none", "backup", tmp_path / "backup")
    assert (result.exit_code, "there is no database" in result.stderr) == (2, True), result.output
    assert not (tmp_path / "backup").exists()
    write(tmp_path / "other/mcn.db", "this is no database, but a text that is longer than a header of one" * 40)
    result = mcn(tmp_path / "other", "backup", tmp_path / "backup")
    assert (result.exit_code, "the database cannot be backed up" in result.stderr) == (1, True), result.output
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_full_disk_leaves_nothing_behind(
    service: Service, mcn: Mcn, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    real, calls = os.fsync, list[int]()

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("app.operations.backup.copying.os.fsync", fsync)
    data_dir = service.settings.data_dir if command == "backup" else tmp_path / "restored"
    result = mcn(data_dir, command, tmp_path / "second" if command == "backup" else backup)
    assert (result.exit_code, "no space left" in result.stderr) == (1, True), result.output
    assert len(calls) > 5
    assert not (tmp_path / "second").exists()
    assert files_below(tmp_path / "restored") == {}


def test_weights_of_ended_jobs_can_stay_where_they_are(service: Service, mcn: Mcn, tmp_path: Path) -> None:
    ended, running = service.submit(), service.submit()
    run = give_files(service, ended)
    service.transition(ended, State.starting, State.running, State.succeeded, attempt=1)
    give_files(service, running)
    start(service, running)
    backup = tmp_path / "backup"
    result = mcn(service.settings.data_dir, "backup", backup, "--weights", "reference")
    assert result.exit_code == 0, result.output
    assert "2 files with weights are not in it" in result.stdout
    assert {file.parts[-4] for file in backup.rglob("*.pth") if "step-" in str(file)} == {running}
    blob = run / "components/expert_0.pth"
    content = blob.read_bytes()
    blob.write_text("other weights")
    result = mcn(tmp_path / "restored", "restore", backup)
    assert (result.exit_code, f"refers to {blob}, which was changed" in result.stderr) == (2, True), result.output
    blob.write_bytes(content)
    assert mcn(tmp_path / "restored", "restore", backup).exit_code == 0
    restored = tmp_path / "restored/runs" / ended / "components"
    assert (restored / "expert_0.pth").read_bytes() == content
    shutil.rmtree(run)
    result = mcn(tmp_path / "again", "restore", backup)
    assert (result.exit_code, "which is missing: put it back" in result.stderr) == (2, True), result.output
