"""The form of log records: what they carry, from wherever they come, and what they must not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.operations.logs import bound_contextvars, make_handler, request_scope
from app.settings import Settings
from tests.app.operations.records import Records

JOB_ID = "job_" + "0" * 26


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records(Settings(data_dir=tmp_path, log_format="json")) as records:
        yield records


def test_a_json_record_has_time_level_logger_message_and_ids(records: Records) -> None:
    with bound_contextvars(job_id=JOB_ID, attempt=2):
        logging.getLogger("worker.reconcile").warning("took %d s", 5)
    [record] = records.all()
    assert record.pop("time").endswith("Z")
    assert list(record) == ["level", "logger", "message", "job_id", "attempt"]
    assert record == {
        "level": "warning", "logger": "worker.reconcile", "message": "took 5 s", "job_id": JOB_ID, "attempt": 2
    }  # fmt: skip


def test_records_of_a_request_have_its_id_and_that_of_its_job(records: Records) -> None:
    scope: dict[str, Any] = {"state": {"request_id": "req_1"}}
    token = request_scope.set(scope)
    try:
        logging.getLogger("a").warning("before the route is known")
        scope["path_params"] = {"job_id": JOB_ID}
        logging.getLogger("a").warning("in the route")
        scope["path_params"] = {"job_id": "job_x\nforged"}
        logging.getLogger("a").warning("with no id")
    finally:
        request_scope.reset(token)
    logging.getLogger("a").warning("outside")
    ids = [(record.get("request_id"), record.get("job_id")) for record in records.all()]
    assert ids == [("req_1", None), ("req_1", JOB_ID), ("req_1", None), (None, None)]


def test_a_traceback_is_one_field_of_json_and_stays_readable_on_a_console(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that another test has started in this process keeps its records to itself.
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    console = io.StringIO()
    handler = make_handler(Settings(data_dir=tmp_path), console)
    log = logging.getLogger("uvicorn.error")
    log.addHandler(handler)
    try:
        raise ValueError("a defect")
    except ValueError:
        with bound_contextvars(job_id=JOB_ID):
            log.exception("Exception in ASGI application\n")
    finally:
        log.removeHandler(handler)
    [record] = records.all()
    assert record["message"] == "Exception in ASGI application"
    assert record["exception"].startswith("Traceback (most recent call last)")
    assert record["exception"].endswith("ValueError: a defect")
    first, *_, last = console.getvalue().strip().splitlines()
    assert "[error" in first
    assert f"Exception in ASGI application [uvicorn.error] job_id={JOB_ID}" in first
    assert last == "ValueError: a defect"
    # No colours in a file.
    assert "\x1b" not in console.getvalue()


def test_fields_are_those_of_this_service_alone(records: Records) -> None:
    extra = {"outcome": "failed", "duration_s": 0.5, "data": {"args": "of a task"}, "color_message": "x"}
    logging.getLogger("a").warning("ended", extra=extra)
    [record] = records.all()
    assert (record["outcome"], record["duration_s"]) == ("failed", 0.5)
    assert record.keys() & {"data", "color_message"} == set()


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_cannot_be_encoded_or_shown_does_not_lose_the_record(form: Any, tmp_path: Path) -> None:
    with Records(Settings(data_dir=tmp_path, log_format=form)) as records:
        logging.getLogger("a").warning("lone %s", "\udc80", extra={"reason": object()})
        assert "lone" in records.text()


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'console' or 'json'"):
        Settings(data_dir=tmp_path, log_format="xml")  # type: ignore[arg-type]


def test_each_line_of_json_is_one_record(records: Records) -> None:
    logging.getLogger("a").warning("two\nlines")
    assert [json.loads(line)["message"] for line in records.text().splitlines()] == ["two\nlines"]
