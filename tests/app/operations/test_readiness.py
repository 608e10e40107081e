"""`GET /readyz`: what it names as missing, what of that matters, and that it never takes long."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db import now, transaction
from app.models import Worker
from app.operations import readiness
from app.operations.readiness import LIMIT_S, Part, Readiness
from tests.app.api import Service


def parts(service: Service) -> dict[str, str]:
    """The details of the parts that are missing in a service that is ready."""
    answer = service.get("/readyz", user=None)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "ready"
    assert [part["name"] for part in body["parts"]] == ["database", "migrations", "worker", "broker", "disk"]
    assert all(part["ok"] is not bool(part["detail"]) for part in body["parts"])
    return {part["name"]: part["detail"] for part in body["parts"] if not part["ok"]}


def missing(service: Service) -> dict[str, str]:
    """What a service that is not ready names in its problem."""
    answer = service.get("/readyz", user=None)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    body = answer.json()
    assert body["type"] == "unavailable"
    assert "Retry-After" in answer.headers
    assert str(service.settings.data_dir) not in answer.text
    named = {".".join(error["loc"]): error["msg"] for error in body["errors"]}
    assert body["detail"] == "; ".join(f"{name}: {detail}" for name, detail in named.items())
    return named


def test_without_a_worker_the_service_is_ready_and_says_so(service: Service) -> None:
    assert parts(service) == {"worker": "none is alive: jobs wait for one"}
    with transaction(service.app.state.engine) as session:
        session.add(Worker(host="a", devices=[], seen_at=now()))
    assert parts(service) == {}


def test_a_database_without_the_latest_migration_is_named_with_the_remedy(service: Service) -> None:
    with transaction(service.app.state.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert missing(service) == {"migrations": "are not up to date: run `mcn db upgrade`"}


def test_a_database_that_fails_is_named_without_its_address(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception(f"no {service.settings.data_dir}"))

    monkeypatch.setattr(readiness, "is_current", fail)
    assert missing(service) == {"database": "is not reachable"}


def test_a_broker_that_is_away_keeps_the_service_ready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "broker_trouble", lambda _: "connection refused by 10.0.0.7")
    assert parts(service)["broker"] == "is not reachable: jobs start some seconds later"


def test_little_space_keeps_the_service_ready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000, total=10**12))
    assert parts(service)["disk"] == "is nearly full: no job starts until old ones have been deleted"


def test_a_data_folder_that_is_gone_or_cannot_be_written_does_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    refused = service.settings.data_dir
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused and access(path, mode))
    assert missing(service)["disk"] == "the data folder cannot be written"

    def fail(_: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert missing(service)["disk"] == "the data folder is not there"


def test_run_directories_that_cannot_be_written_are_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    access, refused = os.access, service.settings.runs_dir
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused and access(path, mode))
    assert parts(service)["disk"] == "the run directories cannot be written: no job starts"


def test_a_check_that_hangs_is_named_and_takes_one_thread_however_many_ask(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "LIMIT_S", 0.05)
    checked = Readiness(service.app.state.engine, service.settings)
    may_end, calls = threading.Event(), []

    def hang() -> list[Part]:
        calls.append(threading.get_ident())
        may_end.wait(60)
        return [Part("disk")]

    monkeypatch.setitem(checked._checks, "disk", hang)

    async def disks() -> list[Part]:
        found = await asyncio.gather(*(checked.parts() for _ in range(20)))
        found.append(await checked.parts())
        may_end.set()
        monkeypatch.setattr(readiness, "LIMIT_S", 60.0)
        found.append(await checked.parts())
        return [part for parts in found for part in parts if part.name == "disk"]

    *hung, ended = asyncio.run(disks())
    assert hung == [Part("disk", False, "did not answer within 0.05 s")] * 21
    assert (ended, len(calls)) == (Part("disk"), 1)


def test_it_answers_before_those_who_ask_give_up() -> None:
    from app.supervisor.up import PROBE_LIMIT_S
    from tests.docker.files import SERVICES

    healthcheck = SERVICES["api"]["healthcheck"]["test"][-1]
    assert "timeout=5" in healthcheck
    assert LIMIT_S < 5 < PROBE_LIMIT_S
