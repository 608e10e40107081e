"""Many unknown tokens from one address are slowed down; good ones from there are not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.auth import throttle
from app.auth.credentials import sha256_of
from app.auth.queries import insert_link, insert_session, list_valid_hashes
from app.auth.service import new_token
from app.auth.sessions import COOKIE
from app.auth.throttle import FORGET_S, MAX_FAILURES, WINDOW_S, Throttle, address_of
from app.db import now, reading, transaction
from app.http.errors import TooManyRequests, Unauthenticated
from app.main import create_app
from app.models import Role
from tests.app.api import Service

WRONG = {"Authorization": "Bearer mcn_wrong"}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(clock: Clock) -> Throttle:
    return Throttle(clock)


def refuse() -> None:
    raise Unauthenticated("unknown")


def succeed() -> str:
    return "ada"


def never() -> str:
    raise AssertionError("the database was asked")


def fail(limited: Throttle, address: str = "192.0.2.1", times: int = MAX_FAILURES) -> None:
    for number in range(times):
        with pytest.raises(Unauthenticated):
            limited.attempt(address, f"wrong {number}", refuse)


def wait_of(limited: Throttle, secret: str = "another", address: str = "192.0.2.1") -> int:
    """The seconds after which an address may try again."""
    with pytest.raises(TooManyRequests) as refused:
        limited.attempt(address, secret, never)
    return int(refused.value.headers["Retry-After"])


def test_an_address_with_too_many_failures_waits_longer_with_each_further_one(limited: Throttle, clock: Clock) -> None:
    fail(limited)
    waits = []
    for _ in range(8):
        waits.append(wait_of(limited))
        clock.now += waits[-1]
        fail(limited, times=1)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_while_an_address_waits_one_request_at_a_time_may_try(limited: Throttle, clock: Clock) -> None:
    fail(limited)
    clock.now += wait_of(limited)
    # A second one arrives while the database answers the first.
    assert limited.attempt("192.0.2.1", "first", lambda: wait_of(limited, "second")) == 2


def test_rare_failures_are_never_too_many(limited: Throttle, clock: Clock) -> None:
    for _ in range(10):
        fail(limited, times=MAX_FAILURES - 1)
        clock.now += WINDOW_S + 1
    assert limited.attempt("192.0.2.1", "good", succeed) == "ada"


def test_an_address_that_was_quiet_starts_anew(limited: Throttle, clock: Clock) -> None:
    fail(limited)
    clock.now += FORGET_S + 1
    fail(limited)
    assert wait_of(limited) == 2


def test_what_was_good_before_is_let_through_until_it_is_refused(limited: Throttle) -> None:
    limited.attempt("192.0.2.7", "good", succeed)
    limited.trust("new")
    fail(limited)
    assert [limited.attempt("192.0.2.1", secret, succeed) for secret in ("good", "new")] == ["ada", "ada"]
    # It has been revoked.
    with pytest.raises(Unauthenticated):
        limited.attempt("192.0.2.1", "good", refuse)
    assert wait_of(limited, "good") > 0


def test_other_errors_are_no_failures(limited: Throttle) -> None:
    def break_down() -> None:
        raise OSError

    for _ in range(2 * MAX_FAILURES):
        with pytest.raises(OSError):
            limited.attempt("192.0.2.1", "good", break_down)


def test_memory_is_bounded(limited: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_ADDRESSES", 3)
    monkeypatch.setattr(throttle, "MAX_KNOWN", 3)
    for number in range(9):
        limited.trust(f"good {number}")
        fail(limited, f"192.0.2.{number}", times=MAX_FAILURES)
    assert (len(limited._failures), len(limited._known)) == (3, 3)
    # Of both, the latest are kept.
    assert wait_of(limited, address="192.0.2.8") == 2
    assert limited.attempt("192.0.2.8", "good 8", succeed) == "ada"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_client_is_one_address(host: str, address: str) -> None:
    assert address_of({"client": (host, 1)}) == address


def test_a_peer_without_an_address_is_one_too() -> None:
    assert address_of({"client": None}) == "unknown"


@pytest.fixture
def selects(service: Service) -> Iterator[Callable[[], int]]:
    """How often a database was asked since the last call."""
    count = 0

    def add(*_: Any) -> None:
        nonlocal count
        count += 1

    def taken() -> int:
        nonlocal count
        before, count = count, 0
        return before

    event.listen(Engine, "before_cursor_execute", add)
    yield taken
    event.remove(Engine, "before_cursor_execute", add)


def test_wrong_tokens_get_429_before_the_database_is_asked(
    service: Service, selects: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    # Created by the fixture, behind the service's back: they have been good once.
    assert service.get("/me", "alice").status_code == 200
    with caplog.at_level(logging.WARNING, "app.auth.throttle"):
        statuses = [service.http.get("/me", headers=WRONG).status_code for _ in range(MAX_FAILURES)]
        assert statuses == [401] * MAX_FAILURES
        assert selects() >= MAX_FAILURES
        for _ in range(5):
            answer = service.http.get("/me", headers=WRONG)
            assert (answer.status_code, answer.json()["type"]) == (429, "too-many-requests")
            assert answer.headers["content-type"] == "application/problem+json"
            assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert selects() == 0
    assert service.get("/me", "alice").status_code == 200
    [record] = [record for record in caplog.records if record.name == "app.auth.throttle"]
    assert "testclient" in record.getMessage()
    assert "wrong" not in record.getMessage()


def block(service: Service) -> None:
    for _ in range(MAX_FAILURES):
        service.http.get("/me", headers=WRONG)
    assert service.http.get("/me", headers=WRONG).status_code == 429


def test_what_the_service_creates_is_good_at_once(service: Service) -> None:
    block(service)
    service.tokens["new"] = service.post("/tokens", {"name": "laptop"}).json()["token"]
    assert service.get("/me", "new").status_code == 200
    form = service.http.get("/login")
    link = "/login/once/" + service.post("/login-links").json()["url"].rpartition("/")[2]
    answer = service.http.post(link, data={"csrf": csrf(form.text)}, follow_redirects=False)
    assert answer.status_code == 303
    assert service.http.get("/ui/jobs", follow_redirects=False).status_code == 200


def test_tokens_are_known_from_the_start(service: Service) -> None:
    application = create_app(service.settings)
    http = type(service.http)(application, raise_server_exceptions=False)
    with http:
        again = Service(service.settings, application, http, service.tokens)
        block(again)
        assert {again.get("/me", user).status_code for user in ("admin", "alice", "eve")} == {200}


def test_what_has_expired_is_not_known(database: Engine) -> None:
    later, before = now() + timedelta(hours=1), now() - timedelta(hours=1)
    with transaction(database) as session:
        secrets = []
        for expires_at in (None, later, before):
            row, secret = new_token(session, name="x", owner="ada", role=Role.member, expires_at=expires_at)
            session.flush()
            insert_session(session, f"session until {expires_at}", row.id, expires_at or later)
            insert_link(session, f"link until {expires_at}", row.id, expires_at or later)
            secrets.append(sha256_of(secret))
    expected = {*secrets[:2], *(f"{kind} until {time}" for kind in ("session", "link") for time in (None, later))}
    with reading(database) as session:
        assert set(list_valid_hashes(session)) == expected
        # Of each kind, one that lasts longest.
        assert secrets[0] in list_valid_hashes(session, limit=1)


def csrf(text: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', text)
    assert found
    return found[1]


def test_the_login_form_counts_and_says_how_long_to_wait(service: Service, selects: Callable[[], int]) -> None:
    form = {"token": "mcn_wrong", "csrf": csrf(service.http.get("/login").text)}
    for _ in range(MAX_FAILURES):
        assert service.http.post("/login", data=form).status_code == 401
    selects()
    answer = service.http.post("/login", data=form)
    assert (answer.status_code, "try again in 2 s" in answer.text) == (429, True)
    assert "retry-after" in answer.headers
    assert selects() == 0


def test_login_links_and_sessions_count_too(service: Service, selects: Callable[[], int]) -> None:
    form = {"csrf": csrf(service.http.get("/login").text)}
    for number in range(MAX_FAILURES // 2):
        assert service.http.post(f"/login/once/wrong{number}", data=form).status_code == 401
        assert service.http.get("/ui/jobs", headers={"Cookie": f"{COOKIE}=wrong{number}"}).status_code == 401
    selects()
    refused = [
        service.http.post("/login/once/wrong", data=form),
        service.http.get("/ui/jobs", headers={"Cookie": f"{COOKIE}=wrong"}),
        service.http.get("/jobs", headers={"Cookie": f"{COOKIE}=wrong"}),
    ]
    assert [answer.status_code for answer in refused] == [429] * 3
    # A browser whose session has ended finds the login form.
    assert "/login?next=/ui/jobs" in refused[1].text
    assert service.http.get("/login", headers={"Cookie": f"{COOKIE}=wrong"}).status_code == 200
    assert selects() == 0
    assert all("retry-after" in answer.headers for answer in refused)
