"""Ids and files that a command refuses before it asks the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.api import EXPERT
from tests.app.cli.conftest import Cli


@pytest.mark.parametrize("invalid", ["", "../me", "#", "job_1?x=1"])
@pytest.mark.parametrize("command", ["show", "delete", "cancel", "logs", "components", "watch", "retry"])
def test_an_invalid_id_is_refused(cli: Cli, command: str, invalid: str) -> None:
    result = cli(command, invalid)
    assert (result.exit_code, "is not a valid id" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("command", ["pause", "resume", "delete", "logs", "components"])
def test_a_sweep_is_refused_where_a_job_is_needed(cli: Cli, command: str) -> None:
    result = cli(command, "swp_01")
    assert (result.exit_code, "is a sweep, but this command needs a job" in result.stderr) == (2, True), result.stderr


def test_a_job_is_refused_where_a_sweep_is_needed(cli: Cli) -> None:
    result = cli("leaderboard", "job_01")
    assert (result.exit_code, "is not a sweep" in result.stderr) == (2, True), result.stderr


def test_a_file_of_the_other_kind_is_recognised(cli: Cli) -> None:
    result = cli("submit", "-", stdin=json.dumps({"base": EXPERT, "grid": {"training.seed": [1]}}))
    assert (result.exit_code, "submit it with `mcn sweep`" in result.stderr) == (2, True)
    result = cli("sweep", "-", stdin=json.dumps(EXPERT))
    assert (result.exit_code, "submit it with `mcn submit`" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "neither JSON nor YAML"), ("- 1", "must be an object"), ("a: .nan", "plain JSON")],
)
def test_a_file_that_is_no_specification_is_refused(
    cli: Cli, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "spec.yaml"
    if content is not None:
        file.write_text(content)
    result = cli("submit", str(file))
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_an_invalid_override_is_refused(cli: Cli) -> None:
    result = cli("submit", "-", "--set", "training.epochs", stdin=json.dumps(EXPERT))
    assert (result.exit_code, "give it as path=value" in result.stderr) == (2, True), result.stderr
