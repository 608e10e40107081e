"""The outbox of webhooks is written with the state events that it announces, and only with them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, delete
from sqlmodel import Session, select

from app.db import before_commit, reading, transaction
from app.jobs.transitions import transition
from app.jobs.webhook_queries import subscribe
from app.models import Event, Job, State, WebhookDelivery
from app.settings import Settings, WebhookState
from tests.app.api import Service

SECRET = "a secret of a test"
TWO = "https://one.example/a, https://two.example/b"


def settings_for(urls: str = TWO, **more: Any) -> Settings:
    return Settings.model_validate({"webhook_url": urls, "webhook_secret": SECRET, **more})


def add_job(engine: Engine, job_id: str = "job_1", state: str = "running") -> None:
    with transaction(engine) as session:
        session.add(Job(id=job_id, kind="expert", name="", state=state, owner="x", spec={}, defaulted=[]))


def outbox(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as session:
        rows = session.exec(select(WebhookDelivery).order_by(WebhookDelivery.id))  # type: ignore[arg-type]
        return [(json.loads(row.body)["job"]["state"], row.address) for row in rows]


def test_every_address_gets_its_own_delivery_of_the_states_of_the_settings(database: Engine) -> None:
    subscribe(database, settings_for())
    add_job(database, state="queued")
    with transaction(database) as session:
        for state in (State.starting, State.running, State.succeeded):
            assert transition(session, "job_1", state)
    assert outbox(database) == [("succeeded", "https://one.example/a"), ("succeeded", "https://two.example/b")]


def test_other_states_can_be_chosen_also_the_first_one_of_a_job(service: Service) -> None:
    engine = service.app.state.engine
    subscribe(engine, settings_for("https://one.example", webhook_states="queued, running"))
    job_id = service.submit()
    service.transition(job_id, State.starting, State.running, State.succeeded)
    assert [state for state, _ in outbox(engine)] == ["queued", "running"]


def test_nothing_is_written_without_the_setting(database: Engine) -> None:
    subscribe(database, Settings(webhook_secret=SECRET))
    add_job(database)
    with transaction(database) as session:
        assert transition(session, "job_1", State.succeeded)
    assert outbox(database) == []


def test_a_transaction_that_is_rolled_back_announces_nothing(database: Engine) -> None:
    class BrokenError(Exception):
        pass

    written: list[int] = []

    def fail_after_writing(session: Session) -> None:
        written.append(len(session.exec(select(WebhookDelivery)).all()))
        raise BrokenError

    def announce() -> None:
        with transaction(database) as session:
            assert transition(session, "job_1", State.succeeded)
            before_commit(session, lambda: fail_after_writing(session))

    subscribe(database, settings_for())
    add_job(database)
    with pytest.raises(BrokenError):
        announce()
    assert (written, outbox(database)) == ([2], [])
    with reading(database) as session:
        assert session.exec(select(Event)).all() == []


def test_a_transition_that_is_refused_announces_nothing(database: Engine) -> None:
    subscribe(database, settings_for())
    add_job(database, state="succeeded")
    with transaction(database) as session:
        assert not transition(session, "job_1", State.failed)
    assert outbox(database) == []


def test_many_jobs_that_end_at_once_each_have_their_event_and_job(database: Engine) -> None:
    total = 2_100
    subscribe(database, settings_for("https://one.example"))
    with transaction(database) as session:
        for number in range(total):
            one: dict[str, Any] = {
                "name": f"name of {number}",
                "kind": "expert",
                "owner": "x",
                "spec": {},
                "defaulted": [],
            }
            session.add(Job(id=f"job_{number}", state="queued", **one))
    with transaction(database) as session:
        for number in range(total):
            assert transition(session, f"job_{number}", State.cancelled)
    with reading(database) as session:
        events = {f"{event.job_id}-{event.id}" for event in session.exec(select(Event))}
        rows = session.exec(select(WebhookDelivery)).all()
    jobs = [json.loads(row.body)["job"] for row in rows]
    assert {row.delivery_id for row in rows} == events
    assert all(job["name"] == f"name of {job['id'].removeprefix('job_')}" for job in jobs)
    assert len(rows) == total


def test_the_end_of_a_job_is_announced_also_if_the_job_is_deleted_and_its_event_id_used_again(database: Engine) -> None:
    subscribe(database, settings_for("https://one.example"))
    for job_id in ("job_1", "job_2"):
        add_job(database, job_id)
        with transaction(database) as session:
            assert transition(session, job_id, State.succeeded)
        with transaction(database) as session:
            session.execute(delete(Job))
    with reading(database) as session:
        ids = [row.delivery_id for row in session.exec(select(WebhookDelivery))]
    assert len(set(ids)) == 2


def test_the_settings_know_every_state() -> None:
    assert get_args(WebhookState) == tuple(State)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"webhook_url": "https://a.example"}, "required with MCN_WEBHOOK_URL.*openssl"),
        ({"webhook_secret": "short"}, "it has 5 characters, and needs at least 16"),
        ({"webhook_url": "https://a.example,mailto:me", "webhook_secret": SECRET}, "address 2 is not valid: use one"),
        ({"webhook_url": "http://a.example:99999", "webhook_secret": SECRET}, "address 1 is not valid: use one"),
        ({"webhook_states": "succeeded,happy"}, "'succeeded'"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_showing_secrets(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        Settings.model_validate(given)
    assert not any(value in str(refused.value) for value in given.values())
    # The command line names the setting by this.
    assert all(error["loc"] for error in refused.value.errors())


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCN_WEBHOOK_URL", "https://a.example/x,https://b.example,https://a.example/x,")
    monkeypatch.setenv("MCN_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("MCN_WEBHOOK_STATES", "failed")
    settings = Settings()
    assert settings.webhook_url == ("https://a.example/x", "https://b.example")
    assert settings.webhook_states == ("failed",)
