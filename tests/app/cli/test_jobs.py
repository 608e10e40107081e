from __future__ import annotations

import json

import pytest

from app.cli.tables import _describe_spec
from tests.app.api import EXPERT, FUSION, Service
from tests.app.cli.attempts import submit_with_two_attempts
from tests.app.cli.conftest import Cli
from tests.app.cli.streams import make_job


def test_quiet_prints_only_the_id(cli: Cli, service: Service) -> None:
    job_id = cli("submit", "-", "--quiet", stdin=json.dumps(EXPERT)).stdout.strip()
    assert service.get(f"/jobs/{job_id}").json()["state"] == "queued"


def test_warnings_of_a_specification_follow_the_id(cli: Cli, service: Service) -> None:
    spec = json.dumps(FUSION | {"input_dim": 4, "fusion": {"type": "multiplicative"}})
    expected = json.loads(cli("submit", "-", "--dry-run", stdin=spec).stdout)["outline"]["warnings"]
    result = cli("submit", "-", stdin=spec)
    assert result.stdout.startswith("job_")
    assert expected
    assert result.stderr.splitlines() == [f"warning: {warning}" for warning in expected]
    assert cli("submit", "-", "--quiet", stdin=spec).stderr == ""
    assert len(service.get("/jobs").json()["items"]) == 2


@pytest.mark.parametrize("options", [(), ("--controls",)])
def test_train_asks_for_controls_only_if_told_to(cli: Cli, service: Service, options: tuple[str, ...]) -> None:
    train = ("train", "--arch", "convnet_small", "--dataset", "digits", "--num-experts", "2", "--json")
    job = json.loads(cli(*train, *options).stdout)
    assert job["spec"]["controls"] is bool(options)
    roles = [row["role"] for row in service.get(f"/jobs/{job['id']}/controls").json()["items"]]
    assert roles == (["single_0", "single_1", "matched", "frozen"] if options else [])


def test_a_shown_job_is_submitted_as_a_changed_copy(cli: Cli, service: Service) -> None:
    shown = cli("show", service.submit(), "--json").stdout
    copy = json.loads(cli("submit", "-", "--json", "--set", "training.batch_size=32", stdin=shown).stdout)
    assert (copy["name"], copy["spec"]["training"]["batch_size"]) == ("one", 32)
    assert copy["id"] != json.loads(shown)["id"]


def test_json_of_a_followed_job_is_one_document_with_its_end(
    cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.submit.watch_jobs", lambda _api, ids, _console: [make_job(ids[0], "failed")])
    result = cli("submit", "-", "--json", "--follow", stdin=json.dumps(EXPERT))
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "failed")
    assert result.stderr.endswith("has failed\n")


def test_show_describes_the_specification_and_every_attempt(cli: Cli, service: Service) -> None:
    stdout = cli("show", submit_with_two_attempts(service, FUSION)).stdout
    assert "2 x convnet_small, multiplicative, on digits" in stdout
    assert "here, from step 7, lost: killed" in stdout
    assert "attempt 2" in stdout


def test_experts_of_other_jobs_are_described_without_an_architecture() -> None:
    saved = {"from": {"component": "cmp_1"}, "arch": None}
    spec = {"kind": "evaluate", "experts": [saved] * 3, "dataset": {"name": "digits"}}
    assert _describe_spec(spec) == "3 saved experts, on digits"
    assert _describe_spec(spec | {"experts": [saved, {"arch": "resnet18"}]}) == "1 saved expert + resnet18, on digits"


def test_jobs_lists_ids_states_and_names(cli: Cli, service: Service) -> None:
    job_id = service.submit()
    stdout = cli("jobs").stdout
    assert [word in stdout for word in (job_id, "queued", "one", "status")] == [True] * 4
    assert json.loads(cli("jobs", "--json").stdout)["items"][0]["id"] == job_id


def test_jobs_are_filtered_by_owner_and_sorted(cli: Cli, service: Service) -> None:
    ids = [
        service.submit(EXPERT | {"name": name}, user) for name, user in (("b", "alice"), ("a", "alice"), ("c", "bob"))
    ]

    def listed(*options: str) -> list[str]:
        return [job["id"] for job in json.loads(cli("jobs", "--json", *options).stdout)["items"]]

    assert listed("--owner", "alice") == [ids[1], ids[0]]
    assert listed("--sort", "name") == [ids[1], ids[0], ids[2]]
    assert listed("--sort", "-score") == []
    assert cli("jobs", "--sort", "score").exit_code == 2


def test_an_unknown_job_is_wrong_usage(cli: Cli) -> None:
    result = cli("show", "job_none")
    assert (result.exit_code, "job_none" in result.stderr) == (2, True)
    assert "`mcn jobs` or `GET /jobs` lists the existing ones" in result.stderr
