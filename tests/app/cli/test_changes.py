from __future__ import annotations

import pytest

from app.cli.service import MAX_NAMED, _pause_jobs, _report_running_jobs
from app.cli.terminal import connected
from app.models import State
from tests.app.api import Service
from tests.app.cli.conftest import Cli


def test_a_refused_job_does_not_stop_the_others(cli: Cli, service: Service) -> None:
    ended, running, last = (service.submit() for _ in range(3))
    service.transition(ended, State.cancelled)
    for job_id in (running, last):
        service.transition(job_id, State.starting, State.running)
    result = cli("pause", ended, running, last)
    assert result.exit_code == 1
    assert ended in result.stderr
    assert "cancelled" in result.stderr
    assert [service.get(f"/jobs/{job_id}").json()["state"] for job_id in (running, last)] == ["pausing", "pausing"]
    assert cli("cancel", "job_none", running).exit_code == 2
    assert service.get(f"/jobs/{running}").json()["state"] == "cancelling"
    assert cli("cancel", last).exit_code == 0


def test_resources_can_be_changed_by_resume_and_retry(cli: Cli, service: Service) -> None:
    paused, failed = service.submit(), service.submit()
    service.transition(paused, State.starting, State.running, State.pausing, State.paused)
    service.transition(failed, State.failed)
    assert cli("resume", paused, "--set", "resources.cpus=1").exit_code == 0
    assert cli("retry", failed, "--set", "resources.memory_gb=3", "--set", "resources.cpus=1").exit_code == 0
    resources = [service.get(f"/jobs/{job_id}").json()["spec"]["resources"] for job_id in (paused, failed)]
    assert [(fields["cpus"], fields["memory_gb"]) for fields in resources] == [(1, None), (1, 3)]
    result = cli("retry", failed, "--set", "training.epochs=3")
    assert (result.exit_code, "training" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("count", [1, 2, 11])
def test_stopping_jobs_prints_the_command_that_resumes_them(
    cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    ids = [service.submit() for _ in range(count + 1)]
    for job_id in ids:
        service.transition(job_id, State.starting, State.running)
    service.transition(ids.pop(), State.cancelling)

    def end_processes(_seconds: float) -> None:
        for job in service.get("/jobs").json()["items"]:
            ended = {"pausing": State.paused, "cancelling": State.cancelled}
            if job["state"] in ended:
                service.transition(job["id"], ended[job["state"]])

    monkeypatch.setattr("app.cli.service.time.sleep", end_processes)
    service.settings.no_new_starts.parent.mkdir(parents=True, exist_ok=True)
    with connected() as api:
        _pause_jobs(api, service.settings)
    last = capsys.readouterr().out.splitlines()[-1]
    command = last.partition("then ")[2]
    if count > MAX_NAMED:
        assert command == "`mcn resume` with their ids, which `mcn jobs --state paused` lists."
    else:
        assert sorted(command.strip("`.").split()) == sorted(["mcn", "resume", *ids])


@pytest.mark.parametrize(("count", "words"), [(1, "1 job continues"), (2, "2 jobs continue")])
def test_jobs_that_go_on_without_the_service_are_counted(
    cli: Cli, service: Service, capsys: pytest.CaptureFixture[str], count: int, words: str
) -> None:
    for _ in range(count):
        service.transition(service.submit(), State.starting, State.running)
    with connected() as api:
        _report_running_jobs(api)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{words} to train without the service: job_")
    assert printed.endswith(f"reconnects to {'it' if count == 1 else 'them'}.\n")


def test_resources_of_a_sweep_cannot_be_changed(offline: Cli) -> None:
    result = offline("retry", "swp_01", "--set", "resources.cpus=1")
    assert (result.exit_code, "--set changes jobs only" in result.stderr) == (2, True)


def test_delete_asks_for_confirmation_on_a_terminal(
    cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, deleted = service.submit(), service.submit()
    for job_id in (kept, deleted):
        service.transition(job_id, State.cancelled)
    monkeypatch.setattr("app.cli.changes.is_interactive", lambda: True)
    result = cli("delete", kept, stdin="n\n")
    assert (result.exit_code, f"Delete {kept} with metrics" in result.stdout) == (1, True)
    assert cli("delete", deleted, stdin="y\n").exit_code == 0
    assert cli("delete", deleted, "--yes").exit_code == 2
    assert [service.get(f"/jobs/{job_id}").status_code for job_id in (kept, deleted)] == [200, 404]
