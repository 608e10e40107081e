"""The id of a request: in its response, in its log lines, and in what a client is told about a defect."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.settings import Settings
from tests.app.api import Service
from tests.app.operations.records import Records

ABSENT = "job_" + "0" * 26
GENERATED = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}")


def json_records(service: Service, level: int = logging.WARNING) -> Records:
    return Records(Settings(data_dir=service.settings.data_dir, log_format="json"), level)


@pytest.mark.parametrize("path", ["/jobs", "/healthz", "/nothing", "/static/docs/swagger-ui.css", "/ui/jobs"])
def test_every_response_has_an_id_of_its_own(service: Service, path: str) -> None:
    ids = [service.get(path).headers["X-Request-ID"] for _ in range(2)]
    assert all(GENERATED.fullmatch(id) for id in ids)
    assert ids[0] != ids[1]
    assert GENERATED.fullmatch(service.get(path, user=None).headers["X-Request-ID"])


@pytest.mark.parametrize("sent", ["a", "7b1c-trace.1_X", "x" * 64])
def test_a_well_formed_id_of_the_client_is_kept(service: Service, sent: str) -> None:
    assert service.get("/jobs", headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "two words", "-a", 'a"b', "é", "a\tb"])
def test_any_other_id_is_replaced(service: Service, sent: str) -> None:
    answer = service.get("/jobs", headers={"X-Request-ID": sent.encode()})
    assert GENERATED.fullmatch(answer.headers["X-Request-ID"])


def test_what_is_logged_during_a_request_carries_its_id_and_its_job(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr("app.jobs.routes.queries.get_job", fail)
    with json_records(service) as records:
        assert service.get(f"/jobs/{ABSENT}", headers={"X-Request-ID": "mine"}).status_code == 503
    [record] = records.all()
    assert record["message"] == "the database is not available: gone"
    assert (record["request_id"], record["job_id"]) == ("mine", ABSENT)


@pytest.mark.parametrize("path", [f"/jobs/{ABSENT}", f"/ui/jobs/{ABSENT}"])
def test_a_defect_is_answered_with_the_id_under_which_it_is_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.jobs.queries.get_job", fail)
    answer = service.get(path, headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "mine")
    assert "its log has the details of the request mine" in answer.text


def test_a_path_with_line_breaks_is_logged_in_one_line(service: Service) -> None:
    with json_records(service, logging.INFO) as records:
        service.get("/a%0Aforged")
    assert "GET /a%0Aforged" in [record["message"] for record in records.all()]


def test_requests_are_logged_at_the_level_info_alone(service: Service) -> None:
    with json_records(service) as records:
        service.get("/jobs")
    assert records.all() == []
    with json_records(service, logging.INFO) as records:
        service.get(f"/jobs/{ABSENT}?token=secret", headers={"X-Request-ID": "mine"})
    [record] = [record for record in records.all() if record["logger"] == "app.operations.request_log"]
    assert 0 < record.pop("duration_s") < 60
    del record["time"]
    assert record == {
        "level": "info",
        "logger": "app.operations.request_log",
        "message": f"GET /jobs/{ABSENT}",
        "request_id": "mine",
        "job_id": ABSENT,
        "status": 422,
    }
