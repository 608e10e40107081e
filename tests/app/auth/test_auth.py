"""Who may do what: every route refuses whoever may not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import update

from app.db import transaction
from app.models import Token
from tests.app.api import EXPERT, Service

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


def test_the_walk_sees_the_routes(service: Service) -> None:
    paths = {path for _, path in routes(service)}
    assert {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/components/{name}", "/tokens/{token_id}", "/docs"} <= paths
    assert len(routes(service)) > 25


def test_every_route_but_the_open_ones_refuses_bad_tokens(service: Service) -> None:
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
    for method, path in routes(service):
        filled = path.format(job_id="job_x", sweep_id="swp_x", name="expert_0", token_id="tok_x")
        for header in headers:
            sent = [(key.encode(), value.encode("latin-1")) for key, value in header.items()]
            answer = service.http.request(method, filled, headers=sent, follow_redirects=False)
            if path in OPEN:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 401, (method, path, header)
                assert "www-authenticate" in answer.headers


def test_viewers_change_nothing(service: Service) -> None:
    for method, path in routes(service):
        if method in ("GET", "HEAD"):
            continue
        filled = path.format(job_id="job_x", sweep_id="swp_x", token_id="tok_x")
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


def test_a_browser_may_give_the_token_as_a_password(service: Service) -> None:
    answer = service.http.get("/docs")
    assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    page = service.http.get("/docs", auth=("anybody", service.tokens["eve"]))
    assert page.status_code == 200
    # All that the page loads comes from here: it works where there is no internet.
    named = re.findall(r'(?:src|href|url)(?:="|: .)([^"\']+)', page.text)
    assert len(named) == 4
    assert "://" not in page.text.replace(str(service.http.base_url), "")
    for path in named:
        answer = service.http.get(path, auth=("anybody", service.tokens["eve"]))
        assert (answer.status_code, len(answer.content) > 1000) == (200, True), path
    assert service.post("/jobs", EXPERT, user=None).status_code == 401


@pytest.mark.parametrize(
    ("origin", "status"), [(None, 201), ("http://testserver", 201), ("http://evil.example", 403), ("null", 403)]
)
def test_no_page_of_another_site_uses_that_password(service: Service, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = service.http.post("/jobs", json=EXPERT, auth=("x", service.tokens["alice"]), headers=headers)
    assert answer.status_code == status
    assert service.post("/jobs", EXPERT, user="alice", headers=headers).status_code == 201
    assert service.http.get("/me", auth=("x", service.tokens["alice"]), headers=headers).status_code == 200
