from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from app.models import State
from tests.app.api import Service
from tests.app.cli.conftest import run_mcn
from tests.app.operations.backup.services import give_files, start, write

Mcn = Callable[..., Result]


@pytest.fixture
def mcn(monkeypatch: pytest.MonkeyPatch) -> Mcn:
    """Runs `mcn` on a data folder, with a database URL if there is one."""

    def run(data_dir: Path, *arguments: str | Path, url: str = "") -> Result:
        monkeypatch.setenv("MCN_DATA_DIR", str(data_dir))
        monkeypatch.setenv("MCN_DATABASE_URL", url)
        result = run_mcn(*map(str, arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def backup(service: Service, mcn: Mcn, tmp_path: Path) -> Path:
    """A backup of a service with a job that runs and one that has ended."""
    running, ended = service.submit(), service.submit()
    give_files(service, ended)
    service.transition(ended, State.starting, State.running, State.succeeded, attempt=1)
    write(service.settings.runs_dir / ended / "result.json", "{}")
    give_files(service, running)
    start(service, running)
    result = mcn(service.settings.data_dir, "backup", tmp_path / "backup", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["jobs"], answer["database"], answer["notes"]) == (2, "sqlite", [])
    return tmp_path / "backup"
