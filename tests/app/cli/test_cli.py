"""The command line on the application in this process: what it takes, prints, and ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from app.cli.client import Api
from app.cli.main import app as mcn
from app.db import transaction
from app.models import Attempt, Job, State
from tests.app.api import EXPERT, FUSION, Service

Cli = Callable[..., Result]


@pytest.fixture
def cli(service: Service, monkeypatch: pytest.MonkeyPatch) -> Cli:
    service.http.headers["Authorization"] = f"Bearer {service.tokens['admin']}"
    monkeypatch.setattr(httpx, "Client", lambda **_: service.http)
    monkeypatch.setattr(Api, "close", lambda _: None)

    def run(*words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(mcn, list(words), input=given)

    return run


@pytest.mark.parametrize("odd", ["", "../me", "#", "job_1?x=1"])
@pytest.mark.parametrize("command", ["show", "delete", "cancel", "logs", "components", "watch", "retry"])
def test_what_cannot_be_an_id_is_refused(cli: Cli, command: str, odd: str) -> None:
    done = cli(command, odd)
    assert (done.exit_code, "is no id" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("command", ["pause", "resume", "delete", "logs", "components"])
def test_a_sweep_is_told_from_a_job(cli: Cli, command: str) -> None:
    done = cli(command, "swp_01")
    assert (done.exit_code, "is a sweep, and this takes jobs" in done.stderr) == (2, True), done.stderr


def test_a_file_of_the_other_kind_is_recognised(cli: Cli) -> None:
    done = cli("submit", "-", given=json.dumps({"base": EXPERT, "grid": {"training.seed": [1]}}))
    assert (done.exit_code, "`mcn sweep` takes it" in done.stderr) == (2, True)
    done = cli("sweep", "-", given=json.dumps(EXPERT))
    assert (done.exit_code, "`mcn submit` takes it" in done.stderr) == (2, True)


def test_what_one_job_refuses_keeps_it_from_no_other(cli: Cli, service: Service) -> None:
    ended, runs, last = (service.submit() for _ in range(3))
    service.transition(ended, State.cancelled)
    for job_id in (runs, last):
        service.transition(job_id, State.starting, State.running)
    done = cli("pause", ended, runs, last)
    assert done.exit_code == 1
    assert f"{ended} is cancelled, so it cannot be paused: only a job that is starting or running can" in done.stderr
    assert [service.get(f"/jobs/{job_id}").json()["state"] for job_id in (runs, last)] == ["pausing", "pausing"]
    assert cli("cancel", "job_none", runs).exit_code == 2
    assert service.get(f"/jobs/{runs}").json()["state"] == "cancelling"
    assert cli("cancel", last).exit_code == 0


def test_a_job_goes_on_with_other_resources(cli: Cli, service: Service) -> None:
    paused, failed = service.submit(), service.submit()
    service.transition(paused, State.starting, State.running, State.pausing, State.paused)
    service.transition(failed, State.failed)
    assert cli("resume", paused, "--set", "resources.cpus=1").exit_code == 0
    assert cli("retry", failed, "--set", "resources.memory_gb=3", "--set", "resources.cpus=1").exit_code == 0
    asked = [service.get(f"/jobs/{job_id}").json()["spec"]["resources"] for job_id in (paused, failed)]
    assert [(one["cpus"], one["memory_gb"]) for one in asked] == [(1, None), (1, 3)]
    done = cli("retry", failed, "--set", "training.epochs=3")
    assert (done.exit_code, "training: there is no such field" in done.stderr) == (2, True), done.stderr


def test_only_the_id_is_printed_if_that_is_wanted(cli: Cli, service: Service) -> None:
    job_id = cli("submit", "-", "--quiet", given=json.dumps(EXPERT)).stdout.strip()
    assert service.get(f"/jobs/{job_id}").json()["state"] == "queued"


def test_a_job_is_shown_with_what_it_trains_and_every_attempt(cli: Cli, service: Service) -> None:
    job_id = attempted(service, FUSION)
    said = cli("show", job_id).stdout
    assert "2 x convnet_small, multiplicative, on digits" in said
    assert "here, from step 7, lost: killed" in said
    assert "attempt 2" in said


def test_the_log_of_an_earlier_attempt_can_be_read(cli: Cli, service: Service) -> None:
    job_id = attempted(service, EXPERT)
    done = cli("logs", job_id)
    assert (done.stdout, "Attempt 2 has written nothing; `--attempt 1` shows" in done.stderr) == ("", True)
    assert cli("logs", job_id, "--attempt", "1").stdout == "first\n"
    done = cli("logs", job_id, "--attempt", "3")
    assert (done.exit_code, "has no attempt 3: it has had 2" in done.stderr) == (2, True)


def attempted(service: Service, spec: dict[str, Any]) -> str:
    """A job in its second attempt, which has written nothing yet."""
    job_id = service.submit(spec)
    common: dict[str, Any] = {"job_id": job_id, "executor": "local", "host": "here", "devices": []}
    with transaction(service.app.state.engine) as session:
        lost: dict[str, Any] = {"outcome": "lost", "reason": "lost", "message": "killed"}
        session.add(Attempt(number=1, resumed_from_step=7, **common, **lost))
        session.add(Attempt(number=2, **common))
        session.execute(update(Job).values(attempt=2))
    log = service.settings.runs_dir / job_id / "attempt-1" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    return job_id


def test_what_is_deleted_is_asked_for_on_a_terminal(cli: Cli, service: Service, monkeypatch: Any) -> None:
    kept, gone = service.submit(), service.submit()
    for job_id in (kept, gone):
        service.transition(job_id, State.cancelled)
    monkeypatch.setattr("app.cli.changes.on_a_terminal", lambda: True)
    done = cli("delete", kept, given="n\n")
    assert (done.exit_code, f"Delete {kept} with metrics" in done.stdout) == (1, True)
    assert cli("delete", gone, given="y\n").exit_code == 0
    assert cli("delete", gone, "--yes").exit_code == 2
    assert [service.get(f"/jobs/{job_id}").status_code for job_id in (kept, gone)] == [200, 404]
