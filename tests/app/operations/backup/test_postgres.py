"""`mcn backup` and `mcn restore` on PostgreSQL."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import psycopg
import pytest
from ulid import ULID

from app.models import State
from app.operations.backup import databases
from app.settings import Settings
from tests.app.fixtures import service_on
from tests.app.operations.backup.conftest import Mcn
from tests.app.operations.backup.services import files_below, give_files, start
from tests.parts import need


@pytest.fixture
def urls(postgres_server: str) -> tuple[str, str]:
    """Two empty databases, if pg_dump is of the server's version or newer."""
    need("PostgreSQL", "pg_dump")
    found = []
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        for _ in range(2):
            name = f"t{ULID()}".lower()
            connection.execute(f"CREATE DATABASE {name}".encode())
            found.append(f"{postgres_server.rpartition('/')[0]}/{name}")
    return found[0], found[1]


def test_a_service_is_restored_with_its_tokens_jobs_and_files(mcn: Mcn, urls: tuple[str, str], tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=urls[0])
    settings.make_folders()
    backup = tmp_path / "backup"
    with service_on(settings) as service:
        job_id, ended = service.submit(), service.submit()
        give_files(service, job_id)
        start(service, job_id)
        service.transition(ended, State.starting, State.running, State.succeeded, attempt=1)
        jobs = service.get("/jobs").json()["items"]
        result = mcn(settings.data_dir, "backup", backup, url=urls[0])
        assert result.exit_code == 0, result.output
        assert stat.S_IMODE((backup / "database.dump").stat().st_mode) == 0o600
        tokens = service.tokens

    result = mcn(tmp_path / "restored", "restore", backup, url=urls[0])
    assert (result.exit_code, "is not empty (it has the tables" in result.stderr) == (1, True), result.output
    result = mcn(tmp_path / "restored", "restore", backup)
    assert (result.exit_code, "set MCN_DATABASE_URL to an empty" in result.stderr) == (2, True), result.output
    assert not (tmp_path / "restored").exists()

    result = mcn(tmp_path / "restored", "restore", backup, "--json", url=urls[1])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["resuming"] == [job_id]
    with service_on(Settings(data_dir=tmp_path / "restored", database_url=urls[1])) as restored:
        assert restored.tokens["admin"] == tokens["admin"]
        restored.tokens = tokens
        assert restored.get("/jobs", "alice").json()["items"] == jobs
        # Ids of new rows continue behind those of the backup.
        assert restored.post(f"/jobs/{job_id}/cancel").status_code < 300


def test_a_dump_that_cannot_be_restored_leaves_nothing_behind(
    mcn: Mcn, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=urls[0])
    settings.make_folders()
    with service_on(settings) as service:
        give_files(service, service.submit())
        assert mcn(settings.data_dir, "backup", tmp_path / "backup", url=urls[0]).exit_code == 0
    load = databases.load_postgres

    def load_half(settings: Settings, file: Path) -> None:
        half = tmp_path / "half"
        half.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        load(settings, half)

    monkeypatch.setattr("app.operations.backup.restore.load_postgres", load_half)
    result = mcn(tmp_path / "restored", "restore", tmp_path / "backup", url=urls[1])
    assert (result.exit_code, "pg_restore failed" in result.stderr) == (1, True), result.output
    assert files_below(tmp_path / "restored") == {}
    monkeypatch.undo()
    assert mcn(tmp_path / "restored", "restore", tmp_path / "backup", url=urls[1]).exit_code == 0


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_missing_program_is_named_with_how_to_install_it(
    mcn: Mcn, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=urls[0])
    settings.make_folders()
    with service_on(settings):
        assert mcn(settings.data_dir, "backup", tmp_path / "backup", url=urls[0]).exit_code == 0
    which = shutil.which
    monkeypatch.setattr(
        "app.operations.backup.databases.shutil.which", lambda name: None if name.startswith("pg_") else which(name)
    )
    target = tmp_path / ("second" if command == "backup" else "backup")
    data_dir = settings.data_dir if command == "backup" else tmp_path / "restored"
    result = mcn(data_dir, command, target, url=urls[0] if command == "backup" else urls[1])
    message = "is not installed: install the client programs of PostgreSQL"
    assert (result.exit_code, message in result.stderr) == (1, True), result.output


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_server_that_does_not_answer_is_named(mcn: Mcn, urls: tuple[str, str], tmp_path: Path, command: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=urls[0])
    settings.make_folders()
    with service_on(settings):
        assert mcn(settings.data_dir, "backup", tmp_path / "backup", url=urls[0]).exit_code == 0
    target = tmp_path / ("second" if command == "backup" else "backup")
    result = mcn(tmp_path / "restored", command, target, url="postgresql://mcn:secret@127.0.0.1:1/mcn")
    assert (result.exit_code, "the database cannot be" in result.stderr) == (1, True), result.output
    assert "secret" not in result.output
    assert not (tmp_path / "restored").exists()
