"""One rule for every command: 2 if the command is wrong in itself, 1 if it is right and refused, or fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.client import Api
from app.models import State
from app.settings import Settings
from tests.app.api import EXPERT, Service
from tests.app.cli.conftest import Cli

# Words after which a command names a job, by command.
OF_A_JOB = {
    "show": (),
    "watch": (),
    "logs": (),
    "explain": (),
    "ledger": (),
    "provenance": (),
    "components": (),
    "pause": (),
    "resume": (),
    "cancel": (),
    "retry": (),
    "delete": (),
    "report": (),
    "predictions": (),
    "download": ("head",),
}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("submit", "examples/digits/expert.yaml", "--key", "é"), "letters, digits, spaces and marks of ASCII"),
        (("submit", "examples/digits/expert.yaml", "--key", ""), "letters, digits, spaces and marks of ASCII"),
        (("jobs", "-q", "\udcff"), "bytes that are not UTF-8 text"),
        (("jobs", "--sweep", "swp_none"), "there is no sweep 'swp_none'"),
        (("jobs", "--sweep", "nope"), "nope is not a sweep"),
        (("quota", "set", "a\nb"), "cannot be the name of a user"),
    ],
)
def test_arguments_that_cannot_be_are_wrong_usage(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    result = cli(*arguments)
    assert (result.exit_code, said in " ".join(result.stderr.split())) == (2, True), result.output


@pytest.mark.parametrize("command", OF_A_JOB)
def test_what_does_not_exist_is_wrong_usage(cli: Cli, command: str) -> None:
    result = cli(command, "job_none", *OF_A_JOB[command])
    assert (result.exit_code, "there is no job" in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--state", "gone"),
        ("jobs", "--sort", "size"),
        ("compare", "job_a", "job_b", "--split", "all"),
        ("token", "create", "laptop", "--role", "king"),
        ("token", "revoke", "tok_none"),
        ("leaderboard", "swp_none"),
        ("train", "--fusion-type", "mean"),
    ],
)
def test_a_value_that_is_not_allowed_is_wrong_usage(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli(*words).exit_code == 2


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
@pytest.mark.parametrize("command", ["submit", "sweep"])
def test_an_invalid_specification_is_wrong_usage(cli: Cli, command: str, option: tuple[str, ...]) -> None:
    spec = EXPERT | {"training": {"epochs": 0}}
    body = {"base": spec, "grid": {"training.seed": [1]}} if command == "sweep" else spec
    result = cli(command, "-", *option, stdin=json.dumps(body))
    assert (result.exit_code, "greater than or equal to 1" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ["pause", "retry", "delete", "report", "predictions", "download", "compare"])
def test_what_the_state_of_a_job_forbids_is_refused(cli: Cli, service: Service, command: str) -> None:
    job_id = service.submit()
    more = {"download": ("expert_0",), "compare": (job_id,)}.get(command, ())
    result = cli(command, job_id, *more)
    assert result.exit_code == 1, result.output
    assert any(words in result.stderr for words in ("is queued", "none yet")), result.output


def test_a_job_of_another_user_is_refused(cli: Cli, service: Service) -> None:
    job_id = service.submit()
    service.http.headers["Authorization"] = f"Bearer {service.tokens['bob']}"
    assert cli("cancel", job_id).exit_code == 1
    service.http.headers["Authorization"] = f"Bearer {service.tokens['eve']}"
    assert cli("submit", "-", stdin=json.dumps(EXPERT)).exit_code == 1
    service.http.headers["Authorization"] = "Bearer mcn_none"
    assert cli("jobs").exit_code == 1


def test_of_several_ids_one_that_is_refused_decides(cli: Cli, service: Service) -> None:
    ended = service.submit()
    service.transition(ended, State.cancelled)
    assert cli("cancel", "job_none", ended).exit_code == 1
    assert cli("cancel", ended, "job_none").exit_code == 1
    assert cli("cancel", "job_none", "job_neither").exit_code == 2


def test_a_service_that_is_away_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: Cli) -> None:
    api = Api(Settings(data_dir=tmp_path, token="mcn_test", url="http://127.0.0.1:1"))
    monkeypatch.setattr("app.cli.terminal.Api", lambda *_: api)
    result = offline("jobs")
    assert (result.exit_code, "is not reachable" in result.stderr) == (1, True)
