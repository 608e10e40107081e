"""The outbox of webhooks: deliveries are written in the transaction of their event, and sent by workers later.

A worker sends a delivery that it has a lease of, in no transaction. If it dies, the lease runs out, and a worker sends
the delivery again, with the same id: every delivery arrives at least once, and once only unless something crashed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Engine, delete, insert, update
from sqlmodel import Session, col, select

from app.db import database_time, iso
from app.jobs.alert_queries import ALERT
from app.models import Job, WebhookDelivery
from app.settings import Settings

_OPTION = "mcn_webhooks"
# Longer than sending may take; a worker that crashed while it sent delays a delivery by this.
LEASE = timedelta(seconds=30)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(hours=1)
# A delivery is given up when its next attempt would be later than this after its event.
GIVE_UP_AFTER = timedelta(days=2)
# How long a delivery that was given up is kept, and counted by the metrics.
KEEP_GIVEN_UP = timedelta(days=7)
# Rows of one statement, as in `event_queries`.
_MAX_ROWS = 2_000


class Subscription(NamedTuple):
    """Which states are announced, whether alerts are, and where."""

    addresses: tuple[str, ...]
    states: frozenset[str]
    alerts: bool


class ClaimedDelivery(NamedTuple):
    """A delivery that this process may send until its lease ends."""

    id: int
    delivery_id: str
    body: str
    attempt: int


def subscribe(engine: Engine, settings: Settings) -> None:
    """From now on, transactions of this engine write deliveries as the settings say."""
    if settings.webhook_url:
        states = frozenset(settings.webhook_states)
        subscription = Subscription(settings.webhook_url, states, settings.webhook_alerts)
        engine.update_execution_options(**{_OPTION: subscription})


def announced_jobs(session: Session, events: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By id, what deliveries of these events say about their jobs; empty if none of the events is announced."""
    subscription = _subscription(session)
    ids = sorted({event["job_id"] for event in events if subscription and _is_announced(subscription, event)})
    jobs: dict[str, dict[str, Any]] = {}
    columns: tuple[Any, ...] = (Job.id, Job.name, Job.kind, Job.state, Job.attempt, Job.owner, Job.sweep)
    for start in range(0, len(ids), _MAX_ROWS):
        query = select(*columns).where(col(Job.id).in_(ids[start : start + _MAX_ROWS]))
        jobs |= {row.id: dict(row._mapping) for row in session.exec(query)}
    return jobs


def add_deliveries(
    session: Session, events: Iterable[tuple[int, dict[str, Any]]], jobs: dict[str, dict[str, Any]]
) -> None:
    """Adds the deliveries of events, which are given with their ids; `jobs` are those of `announced_jobs`."""
    subscription = _subscription(session)
    assert subscription is not None
    at = database_time(session)
    times = {"created_at": at, "next_at": at, "attempts": 0}
    rows = [
        {"delivery_id": f"{event['job_id']}-{number}", "address": address, "body": body, **times}
        for number, event in events
        if _is_announced(subscription, event)
        for body in [_body(number, event, jobs[event["job_id"]])]
        for address in subscription.addresses
    ]
    for start in range(0, len(rows), _MAX_ROWS):
        session.connection().execute(insert(WebhookDelivery), rows[start : start + _MAX_ROWS])


def _subscription(session: Session) -> Subscription | None:
    subscription: Subscription | None = session.get_bind().get_execution_options().get(_OPTION)
    return subscription


def _is_announced(subscription: Subscription, event: dict[str, Any]) -> bool:
    if event["type"] == ALERT:
        return subscription.alerts
    return event["type"] == "state" and event["data"]["state"] in subscription.states


def _body(number: int, event: dict[str, Any], job: dict[str, Any]) -> str:
    is_alert, data = event["type"] == ALERT, event["data"]
    delivery = {
        "id": f"{event['job_id']}-{number}",
        "type": "job.alert" if is_alert else "job.state",
        "time": iso(event["time"]),
        "job": job if is_alert else job | {name: data[name] for name in ("state", "reason", "message")},
    }
    return json.dumps(delivery | ({"alert": data} if is_alert else {}))


def has_due_delivery(session: Session, address: str) -> bool:
    """Whether a delivery to this address could be claimed now."""
    query = select(WebhookDelivery.id).where(*_due(session, address))
    return session.exec(query.limit(1)).first() is not None


def claim_delivery(session: Session, address: str) -> ClaimedDelivery | None:
    """Leases the delivery to this address that has been due longest; None if none is due."""
    query = select(WebhookDelivery).where(*_due(session, address))
    query = query.order_by(col(WebhookDelivery.next_at), col(WebhookDelivery.id)).limit(1)
    row = session.exec(query.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    assert row.id is not None
    row.attempts += 1
    row.next_at = database_time(session) + LEASE
    return ClaimedDelivery(row.id, row.delivery_id, row.body, row.attempts)


def _due(session: Session, address: str) -> tuple[Any, ...]:
    return (
        col(WebhookDelivery.address) == address,
        col(WebhookDelivery.given_up_at).is_(None),
        col(WebhookDelivery.next_at) <= database_time(session),
    )


def mark_delivered(session: Session, claimed: ClaimedDelivery) -> None:
    """Deletes a delivery, which has arrived: also if its lease has run out meanwhile."""
    session.execute(delete(WebhookDelivery).where(col(WebhookDelivery.id) == claimed.id))


def mark_failed(session: Session, claimed: ClaimedDelivery) -> bool:
    """Schedules the next attempt, with longer and longer waits; returns True if there is none any more."""
    row = session.get(WebhookDelivery, claimed.id, with_for_update=True)
    if row is None or row.attempts != claimed.attempt:
        return False
    at = database_time(session)
    # The limit of the exponent keeps the product a valid duration.
    row.next_at = at + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(claimed.attempt - 1, 16))
    if row.next_at > row.created_at + GIVE_UP_AFTER:
        row.given_up_at = at
        return True
    return False


def clean_up_deliveries(session: Session, addresses: Sequence[str]) -> int:
    """Gives up old deliveries to other addresses than these, and forgets what was given up long ago.

    Returns how many were given up: they are those to addresses that have been taken out of the settings.
    """
    at = database_time(session)
    outdated = update(WebhookDelivery).where(
        col(WebhookDelivery.given_up_at).is_(None),
        col(WebhookDelivery.created_at) < at - GIVE_UP_AFTER,
        col(WebhookDelivery.address).not_in(addresses),
    )
    given_up: int = session.execute(outdated.values(given_up_at=at)).rowcount  # type: ignore[attr-defined]
    session.execute(delete(WebhookDelivery).where(col(WebhookDelivery.given_up_at) < at - KEEP_GIVEN_UP))
    return given_up
