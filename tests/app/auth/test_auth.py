"""Who may do what: every route refuses whoever may not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import update

from app.auth import service as auth_service
from app.auth import throttle
from app.auth.middleware import OPEN_PATHS, is_page
from app.auth.sessions import COOKIE, open_session
from app.db import transaction
from app.models import Token
from tests.app.api import Service

OPEN = {"/healthz", "/readyz"}


def routes(service: Service) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def walk(entries: Any, prefix: str = "") -> None:
        for route in entries:
            if isinstance(route, APIRoute):
                found.extend((method, prefix + route.path) for method in sorted(route.methods or ()))
            elif hasattr(route, "original_router"):
                walk(route.original_router.routes, prefix)

    walk(service.app.routes)
    return found


def api_routes(service: Service) -> list[tuple[str, str]]:
    """The routes that are no pages; tests/web/test_security.py has those."""
    return [
        (method, path)
        for method, path in routes(service)
        if not is_page(path) and path not in OPEN_PATHS[2:] and not path.startswith("/login/")
    ]


def test_the_walk_sees_the_routes(service: Service) -> None:
    paths = {path for _, path in routes(service)}
    assert {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/components/{name}", "/tokens/{token_id}", "/docs"} <= paths
    assert len(routes(service)) > 25


def test_the_description_says_which_routes_need_a_token(service: Service) -> None:
    description = service.get("/openapi.json").json()
    [(name, scheme)] = description["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in description["paths"].items():
        needed: list[Any] = [] if path in OPEN else [{name: []}]
        assert all(operation["security"] == needed for operation in operations.values()), path


def fill(path: str) -> str:
    """A path for the template of a route."""
    values = {"job_id": "job_x", "sweep_id": "swp_x", "token_id": "tok_x", "component_id": "cmp_x", "owner": "x"}
    return path.replace(":path", "").format(name="expert_0", **values)


def test_every_route_but_the_open_ones_refuses_bad_tokens(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    # More of them than an address may send within a minute.
    monkeypatch.setattr(throttle, "MAX_FAILURES", 10_000)
    with transaction(service.app.state.engine) as session:
        session.execute(
            update(Token).where(Token.owner == "bob").values(expires_at=datetime.now(UTC) - timedelta(seconds=1))  # type: ignore[arg-type]
        )
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer mcn_wrong"},
        {"Authorization": "Bearer " + service.tokens["admin"][4:]},
        {"Authorization": f"Token {service.tokens['admin']}"},
        {"Authorization": f"Bearer {service.tokens['bob']}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer mcn_\xe9"},
    ]
    for method, path in api_routes(service):
        filled = fill(path)
        for header in headers:
            sent = [(key.encode(), value.encode("latin-1")) for key, value in header.items()]
            answer = service.http.request(method, filled, headers=sent, follow_redirects=False)
            if path in OPEN:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, (method, path, header)
                assert "www-authenticate" in answer.headers


def test_viewers_change_nothing(service: Service) -> None:
    for method, path in api_routes(service):
        # A viewer may log in.
        if method in ("GET", "HEAD") or path == "/login-links":
            continue
        filled = fill(path)
        assert service.call(method, filled, "eve").status_code == 403, (method, path)


def test_members_see_all_and_change_only_their_own(service: Service) -> None:
    job_id = service.submit(user="alice")
    assert service.get(f"/jobs/{job_id}", "bob").status_code == 200
    for verb in ("cancel", "pause", "resume", "retry"):
        answer = service.post(f"/jobs/{job_id}/{verb}", user="bob")
        assert answer.status_code == 403
        assert "belongs to alice" in answer.json()["detail"]
    assert service.call("DELETE", f"/jobs/{job_id}", "bob").status_code == 403
    assert service.post(f"/jobs/{job_id}/cancel", user="admin").status_code == 202


def test_tokens_are_made_shown_once_listed_and_revoked(service: Service) -> None:
    made = service.post("/tokens", {"name": "laptop"}, "alice").json()
    service.tokens["new"] = made["token"]
    assert service.get("/me", "new").json() == {"owner": "alice", "role": "member", "token_id": made["id"]}
    listed = service.get("/tokens", "alice").json()["items"]
    assert {row["owner"] for row in listed} == {"alice"}
    assert made["token"] not in str(listed)
    assert len(service.get("/tokens", "admin").json()["items"]) == 5
    assert service.call("DELETE", f"/tokens/{made['id']}", "bob").status_code == 404
    assert service.call("DELETE", f"/tokens/{made['id']}", "alice").status_code == 204
    assert service.get("/me", "new").status_code == 401


def test_nobody_rises_above_themselves(service: Service) -> None:
    assert service.post("/tokens", {"name": "x", "role": "admin"}, "alice").status_code == 403
    assert service.post("/tokens", {"name": "x", "owner": "bob"}, "alice").status_code == 403
    assert service.post("/tokens", {"name": "x", "role": "admin", "owner": "root"}, "admin").status_code == 201


def test_a_token_expires_no_later_than_the_one_that_created_it(service: Service) -> None:
    soon, late = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    made = service.post("/tokens", {"name": "short", "expires_at": soon.isoformat()}, "alice").json()
    service.tokens["short"] = made["token"]
    child = service.post("/tokens", {"name": "child"}, "short").json()
    assert (child["expires_at"], child["parent"]) == (made["expires_at"], made["id"])
    refused = service.post("/tokens", {"name": "later", "expires_at": late.isoformat()}, "short")
    assert refused.status_code == 422
    assert "when the token that you are using expires" in refused.json()["detail"]


@pytest.mark.parametrize("expires_at", [1_893_456_000_000, "1893456000", True, "2030-01-31T00:00:00", "tomorrow"])
def test_the_expiry_of_a_token_is_a_time_with_its_zone(service: Service, expires_at: object) -> None:
    refused = service.post("/tokens", {"name": "x", "expires_at": expires_at}, "alice")
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["loc"] == ["body", "expires_at"]
    assert "time" in error["msg"]
    assert "zone" in error["msg"]


def test_a_token_is_revoked_with_all_that_were_created_with_it(service: Service) -> None:
    parent = ""
    for name, user in (("a", "alice"), ("b", "a"), ("c", "b")):
        made = service.post("/tokens", {"name": name}, user).json()
        service.tokens[name] = made["token"]
        parent = parent or made["id"]
    assert service.get("/me", "c").status_code == 200
    assert service.call("DELETE", f"/tokens/{parent}", "c").status_code == 204
    assert {name: service.get("/me", name).status_code for name in ("a", "b", "c", "alice")} == {
        "a": 401, "b": 401, "c": 401, "alice": 200,
    }  # fmt: skip


def test_an_owner_has_a_bounded_number_of_tokens(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_service, "MAX_TOKENS_PER_OWNER", 3)
    ids = [service.post("/tokens", {"name": "x"}, "alice").json()["id"] for _ in range(2)]
    refused = service.post("/tokens", {"name": "x"}, "alice")
    assert refused.status_code == 409
    assert "alice has 3 tokens" in refused.json()["detail"]
    assert service.post("/tokens", {"name": "x", "owner": "alice"}, "admin").status_code == 409
    assert service.post("/tokens", {"name": "x"}, "bob").status_code == 201
    # Expired ones do not count.
    with transaction(service.app.state.engine) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Token).where(Token.id == ids[0]).values(expires_at=past))
    assert service.post("/tokens", {"name": "x"}, "alice").status_code == 201


@pytest.mark.parametrize(("revoker", "revoked", "status"), [
    ("member", "admin", 403), ("member", "member", 204), ("member", "viewer", 204), ("admin", "member", 204),
    ("viewer", "viewer", 403),
])  # fmt: skip
def test_a_role_revokes_tokens_of_its_own_rank_and_below(
    service: Service, revoker: str, revoked: str, status: int
) -> None:
    ids = {}
    for role in {revoker, revoked}:
        for number in range(2):
            made = service.post("/tokens", {"name": "x", "role": role, "owner": "carol"}).json()
            ids[role, number], service.tokens[role] = made["id"], made["token"]
    answer = service.call("DELETE", f"/tokens/{ids[revoked, 0]}", revoker)
    assert answer.status_code == status, answer.text


def test_the_last_valid_admin_token_stays_though_there_are_expired_ones_and_its_own(service: Service) -> None:
    own = service.get("/me").json()["token_id"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for body in ({"name": "child", "role": "admin"}, {"name": "x", "role": "admin", "expires_at": soon}):
        assert service.post("/tokens", body).status_code == 201
    assert service.call("DELETE", f"/tokens/{own}").status_code == 409


@pytest.mark.parametrize("name", ["a\x9bb", "a\u202eb", "a\u2028b", "a\nb"])
@pytest.mark.parametrize("field", ["name", "owner"])
def test_names_of_tokens_have_no_control_or_formatting_characters(service: Service, field: str, name: str) -> None:
    assert service.post("/tokens", {"name": "x", field: name}).status_code == 422


@pytest.mark.parametrize("owner", ["*", ".", "..", " alice", "alice "])
def test_no_user_is_named_like_everyone_or_almost_like_another(service: Service, owner: str) -> None:
    assert service.post("/tokens", {"name": "x", "owner": owner}).status_code == 422


def test_the_last_admin_token_stays(service: Service) -> None:
    own = service.get("/me").json()["token_id"]
    assert service.call("DELETE", f"/tokens/{own}").status_code == 409


@pytest.mark.parametrize("name", ["admin-token", "mcn.db"])
def test_secrets_are_for_their_owner_alone(service: Service, name: str) -> None:
    folder = service.settings.data_dir
    assert folder.stat().st_mode & 0o077 == 0
    if name == "admin-token":
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert service.tokens["alice"].encode() not in (folder / "mcn.db").read_bytes()


def test_the_reference_opens_for_a_browser_that_is_logged_in(service: Service) -> None:
    answer = service.http.get("/docs")
    assert (answer.status_code, "/login?next=/docs" in answer.text) == (401, True)
    with transaction(service.app.state.engine) as session:
        token_id = service.get("/me", user="eve").json()["token_id"]
        cookie = {"Cookie": f"{COOKIE}={open_session(session, token_id)}"}
    page = service.http.get("/docs", headers=cookie)
    assert page.status_code == 200
    # All that the page loads comes from here: it works where there is no internet.
    named = re.findall(r'(?:src|href|url)(?:="|: .)([^"\']+)', page.text)
    assert len(named) == 4
    assert "://" not in page.text.replace(str(service.http.base_url), "")
    for path in named:
        answer = service.http.get(path, headers=cookie)
        assert (answer.status_code, len(answer.content) > 1000) == (200, True), path


def test_a_password_is_no_credential(service: Service) -> None:
    assert service.http.get("/me", auth=("x", service.tokens["alice"])).status_code == 401
