"""The logs of the processes of the service, as uvicorn and Celery run them: every line is one record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.db import upgrade
from app.settings import Settings
from app.supervisor.up import commands
from tests.parts import free_port, wait_until

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.processes, pytest.mark.slow]


@contextmanager
def running(part: str, settings: Settings) -> Iterator[Path]:
    """A process of the service; gives the file with what it prints."""
    log = settings.data_dir.parent / f"{part}.log"
    variables = {"MCN_DATA_DIR": str(settings.data_dir), "MCN_LOG_FORMAT": "json", "MCN_LOG_LEVEL": "info"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            commands(settings)[part], cwd=ROOT, env=os.environ | variables, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def records(log: Path) -> list[dict[str, Any]]:
    """The records of a log, without what Python and Celery print past all loggers."""
    lines = log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_all_that_the_api_prints_is_json(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", port=free_port())
    with running("api", settings) as log:

        def answers() -> bool:
            try:
                return httpx.get(f"{settings.api_url}/healthz", headers={"X-Request-ID": "mine"}).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, "the start of the API")
    found = records(log)
    assert len(found) == len(log.read_text().splitlines())
    [request] = [record for record in found if record.get("request_id") == "mine"][:1]
    assert (request["message"], request["status"]) == ("GET /healthz", 200)
    assert "uvicorn.error" in {record["logger"] for record in found}


def test_the_records_of_celery_are_json_and_there_is_no_banner(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    upgrade(settings.sqlalchemy_url)
    with running("worker", settings) as log:
        wait_until(lambda: " ready." in log.read_text(), "the start of the worker")
    loggers = {record["logger"] for record in records(log)}
    assert "celery.apps.worker" in loggers
    assert any("is ready" in record["message"] for record in records(log) if record["logger"] == "worker.app")
    assert "[config]" not in log.read_text()
