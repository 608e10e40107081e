"""`mcn retention`: the rules in words, what setting them will delete, and a run with confirmation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.models import State
from tests.app.api import EXPERT, Service
from tests.app.cli.conftest import Cli
from tests.app.operations.retention.ended import RULE, ended, existing, put

POLICY = """
rules:
  - name: old failures
    states: [failed, cancelled]
    older_than_days: 30
    tags: [a]
    in_sweeps: false
    delete: job
  - {name: sweeps, states: [succeeded], older_than_days: 0.5, keep_best_of_sweep: 3, delete: checkpoints}
protected_tags: [keep, pin]
"""


def test_setting_rules_prints_them_and_what_the_next_run_would_delete(
    cli: Cli, service: Service, tmp_path: Path
) -> None:
    failed, done = ended(service, State.failed, tags=["a"]), ended(service)
    (tmp_path / "policy.yaml").write_text(POLICY)
    result = cli("retention", "set", str(tmp_path / "policy.yaml"))
    assert result.exit_code == 0, result.output
    assert "failed or cancelled jobs, older than 30 days, tagged a, in no sweep" in result.stdout
    assert "succeeded jobs, older than 0.5 days, except the best 3 of each sweep" in result.stdout
    assert "Jobs with the tag keep or pin are never touched." in result.stdout
    due = service.get("/retention").json()["next_run_at"]
    assert f"Workers apply this next at {due}." in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("job_")]
    assert [(row[0], row[-3]) for row in rows] == [(failed, "job"), (done, "checkpoints")]
    assert "Would delete 1 job and the checkpoints of 1 job: " in result.stdout
    assert existing(service) == {failed, done}
    shown = cli("retention", "show")
    assert shown.stdout.splitlines() == result.stdout.splitlines()[: len(shown.stdout.splitlines())]


def test_what_show_prints_as_json_can_be_set_again(cli: Cli, service: Service) -> None:
    put(service, {})
    shown = cli("retention", "show", "--json").stdout
    result = cli("retention", "set", "-", "--json", stdin=shown)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["retention"], answer["next_run"]["jobs"]) == (json.loads(shown), 0)


def test_no_rules_are_said_in_words(cli: Cli, service: Service) -> None:
    words = "There are no rules: nothing is deleted automatically.\n"
    assert cli("retention", "show").stdout == words
    assert cli("retention", "set", "-", stdin='{"rules": []}').stdout == words
    assert cli("retention", "run", "--yes").stdout == "Nothing to delete.\n"


def test_a_run_deletes_and_is_shown_afterwards(cli: Cli, service: Service) -> None:
    jobs = {ended(service) for _ in range(2)}
    put(service, {})
    result = cli("retention", "run", "--dry-run")
    assert (result.exit_code, "Would delete 2 jobs: " in result.stdout) == (0, True), result.output
    assert existing(service) == jobs
    result = cli("retention", "run", "--yes", "--json")
    assert (json.loads(result.stdout)["jobs"], existing(service)) == (2, set())
    assert [line.split()[1:4] for line in cli("retention", "show").stdout.splitlines()][-1] == ["admin", "2", "0"]


def test_without_a_terminal_a_run_has_to_be_confirmed_by_an_option(cli: Cli, service: Service) -> None:
    job_id = ended(service)
    put(service, {})
    result = cli("retention", "run", stdin="n\n")
    assert (result.exit_code, "--yes" in result.stderr, existing(service)) == (2, True, {job_id}), result.output


def test_on_a_terminal_a_run_asks_first(cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.retention.is_interactive", lambda: True)
    assert cli("retention", "run").stdout == "Nothing to delete.\n"
    job_id = ended(service)
    put(service, {})
    result = cli("retention", "run", stdin="n\n")
    assert (result.exit_code, job_id in result.stdout, existing(service)) == (1, True, {job_id})
    result = cli("retention", "run", stdin="y\n")
    assert (result.exit_code, existing(service)) == (0, set())
    assert "Deleted 1 job: " in result.stdout
    # The table is printed once, before the question.
    assert result.stdout.count(job_id) == 1
    job_id = ended(service)
    assert (cli("retention", "run", "--yes").exit_code, existing(service)) == (0, set())


def test_a_long_report_is_cut_and_counted(cli: Cli, service: Service) -> None:
    for number in range(22):
        job_id = service.submit(EXPERT | {"name": str(number)})
        service.transition(job_id, State.cancelled)
    put(service, {"older_than_days": 0})
    lines = cli("retention", "run", "--dry-run").stdout.splitlines()
    assert len([line for line in lines if line.startswith("job_")]) == 20
    assert lines[-2:] == ["and 2 more", "Would delete 22 jobs: 0 B."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "must be an object"),
        (json.dumps({"rules": [RULE | {"states": ["running"]}]}), "rules.0.states.0: must be 'succeeded'"),
        ("rules: [{name: a", "is neither JSON nor YAML"),
        ("{}", "rules: field required"),
    ],
)
def test_a_file_that_is_no_policy_is_wrong_usage(cli: Cli, text: str, words: str) -> None:
    result = cli("retention", "set", "-", stdin=text)
    assert (result.exit_code, words in result.stderr) == (2, True), result.output


def test_who_is_no_admin_is_refused_with_1(cli: Cli, service: Service) -> None:
    service.http.headers["Authorization"] = f"Bearer {service.tokens['alice']}"
    assert cli("retention", "show").exit_code == 0
    for words in (("set", "-"), ("run", "--dry-run")):
        result = cli("retention", *words, stdin='{"rules": []}')
        assert (result.exit_code, "needs the role admin" in result.stderr) == (1, True), result.output
