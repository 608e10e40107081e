"""Who may read and change the retention policy, which policies are refused, and when they are first applied."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.operations.retention.service import INTERVAL
from core.spec import read_mapping
from tests.app.api import Service
from tests.app.operations.retention.ended import RULE, ended, existing, put, run
from tests.documentation import blocks


def test_without_a_policy_nothing_is_deleted(service: Service) -> None:
    job_id = ended(service, days=9_999)
    shown = service.get("/retention", "eve").json()
    assert shown["policy"] == {"rules": [], "protected_tags": ["keep"]}
    assert (shown["next_run_at"], shown["runs"]) == (None, [])
    assert (run(service)["jobs"], existing(service)) == (0, {job_id})


@pytest.mark.parametrize("user", ["alice", "eve"])
def test_only_admins_change_and_run_it_and_everybody_sees_it(service: Service, user: str) -> None:
    job_id = ended(service)
    assert service.call("PUT", "/retention", user, json={"rules": []}).status_code == 403
    put(service, {})
    for path in ("/retention/run", "/retention/run?dry_run=true"):
        refused = service.post(path, user=user)
        assert (refused.status_code, "needs the role admin" in refused.json()["detail"]) == (403, True)
    assert service.get("/retention", user).json() == service.get("/retention").json()
    assert existing(service) == {job_id}
    assert service.get("/retention", None).status_code == 401


def test_a_new_policy_is_applied_an_hour_later_and_repeating_it_does_not_put_that_off(service: Service) -> None:
    def hours(shown: dict[str, Any]) -> timedelta:
        return datetime.fromisoformat(shown["next_run_at"]) - datetime.fromisoformat(shown["changed_at"])

    first = put(service, {})
    assert (first["changed_by"], hours(first)) == ("admin", INTERVAL)
    assert put(service, {}) == first
    second = put(service, {"older_than_days": 1.5})
    assert second["policy"]["rules"] == [
        RULE | {"name": "rule 0", "older_than_days": 1.5, "tags": [], "in_sweeps": None, "keep_best_of_sweep": None}
    ]
    assert (hours(second), second["changed_at"] > first["changed_at"]) == (INTERVAL, True)
    assert put(service)["next_run_at"] is None


@pytest.mark.parametrize(
    ("change", "loc", "words"),
    [
        ({"name": ""}, "rules.0.name", "at least 1 character"),
        ({"name": "a\nb"}, "rules.0.name", "must be one line"),
        ({"states": []}, "rules.0.states", "at least 1 item"),
        ({"states": ["running"]}, "rules.0.states.0", "'succeeded', 'failed' or 'cancelled'"),
        ({"older_than_days": "30"}, "rules.0.older_than_days", "must be a number"),
        ({"older_than_days": -1}, "rules.0.older_than_days", "greater than or equal to 0"),
        ({"older_than_days": 1e9}, "rules.0.older_than_days", "less than or equal to 36500"),
        ({"older_than_days": True}, "rules.0.older_than_days", "must be a number"),
        ({"tags": ["a b"]}, "rules.0.tags.0", "must be letters"),
        ({"in_sweeps": 1}, "rules.0.in_sweeps", "must be true or false"),
        ({"keep_best_of_sweep": 0}, "rules.0.keep_best_of_sweep", "greater than or equal to 1"),
        ({"keep_best_of_sweep": 1.5}, "rules.0.keep_best_of_sweep", "must be an integer"),
        ({"delete": "all"}, "rules.0.delete", "'job' or 'checkpoints'"),
        ({"older": 3}, "rules.0.older", "there is no such field"),
        ({"in_sweeps": False, "keep_best_of_sweep": 3}, "body", "leave out keep_best_of_sweep"),
        ({"tags": ["keep"]}, "body", "its tag 'keep' is a protected one"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(service: Service, change: dict[str, Any], loc: str, words: str) -> None:
    answer = service.call("PUT", "/retention", json={"rules": [RULE | change]})
    [error] = answer.json()["errors"]
    assert (answer.status_code, ".".join(map(str, error["loc"]))) == (422, loc if loc == "body" else f"body.{loc}")
    assert words in error["msg"]
    assert service.get("/retention").json()["policy"]["rules"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b'{"rules": {}}', b'{"rules": [1]}', b'{"rules": [], "protected": []}',
        b'{"rules": [{"name": "x", "states": ["failed"], "older_than_days": NaN, "delete": "job"}]}',
        b'{"rules": [{"name": "x", "states": ["failed"], "older_than_days": 1}]}',
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(service: Service, body: bytes) -> None:
    assert service.call("PUT", "/retention", content=body).status_code == 422


def test_two_rules_of_one_name_are_refused(service: Service) -> None:
    answer = service.call("PUT", "/retention", json={"rules": [RULE, RULE]})
    assert (answer.status_code, "two rules have the name 'old'" in answer.text) == (422, True)


def test_the_longest_age_finds_nothing(service: Service) -> None:
    ended(service)
    put(service, {"older_than_days": 36_500})
    assert run(service, dry_run=True)["jobs"] == 0


def test_the_policy_of_the_documentation_is_valid(service: Service) -> None:
    [text] = [text for text in blocks("docs/production.md", "text") if "older_than_days" in text]
    answer = service.call("PUT", "/retention", json=read_mapping(text))
    assert (answer.status_code, len(answer.json()["policy"]["rules"])) == (200, 3)


def test_a_body_is_refused_since_a_dry_run_in_it_would_delete(service: Service) -> None:
    job_id = ended(service)
    put(service, {})
    answer = service.post("/retention/run", {"dry_run": True})
    assert (answer.status_code, "?dry_run=true" in answer.json()["detail"]) == (422, True)
    assert existing(service) == {job_id}
