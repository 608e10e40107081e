"""Ids and files that a command refuses before it asks the service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.app.api import EXPERT
from tests.app.cli.conftest import Cli


@pytest.mark.parametrize("invalid", ["", "../me", "#", "job_1?x=1"])
@pytest.mark.parametrize("command", ["show", "delete", "cancel", "logs", "components", "watch", "retry"])
def test_an_invalid_id_is_refused(offline: Cli, command: str, invalid: str) -> None:
    result = offline(command, invalid)
    assert (result.exit_code, "is not a valid id" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("command", ["pause", "resume", "delete", "logs", "components"])
def test_a_sweep_is_refused_where_a_job_is_needed(offline: Cli, command: str) -> None:
    result = offline(command, "swp_01")
    assert (result.exit_code, "is a sweep, but this command needs a job" in result.stderr) == (2, True), result.stderr


def test_a_job_is_refused_where_a_sweep_is_needed(offline: Cli) -> None:
    result = offline("leaderboard", "job_01")
    assert (result.exit_code, "is not a sweep" in result.stderr) == (2, True), result.stderr


def test_a_file_of_the_other_kind_is_recognised(offline: Cli) -> None:
    result = offline("submit", "-", stdin=json.dumps({"base": EXPERT, "grid": {"training.seed": [1]}}))
    assert (result.exit_code, "submit it with `mcn sweep`" in result.stderr) == (2, True)
    result = offline("sweep", "-", stdin=json.dumps(EXPERT))
    assert (result.exit_code, "submit it with `mcn submit`" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "neither JSON nor YAML"), ("- 1", "must be an object"),
     ("a: {b: [1, .nan]}", "a.b[1] is nan"), ("a: {.inf: 1}", "the name of a field in a is inf")],
)  # fmt: skip
def test_a_file_that_is_no_specification_is_refused(
    offline: Cli, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "spec.yaml"
    if content is not None:
        file.write_text(content)
    result = offline("submit", str(file))
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_an_invalid_override_is_refused(offline: Cli) -> None:
    result = offline("submit", "-", "--set", "training.epochs", stdin=json.dumps(EXPERT))
    assert (result.exit_code, "write path=value" in result.stderr) == (2, True), result.stderr


def test_help_shows_every_default(offline: Cli) -> None:
    assert "the largest of the experts" in " ".join(offline("train", "--help").stdout.replace("│", " ").split())


def test_help_lists_every_command_in_a_panel(offline: Cli) -> None:
    lines = offline("--help").stdout
    for panel in ("Service", "Submit", "Watch", "Change", "Results", "Administration"):
        assert f"─ {panel} ─" in lines
