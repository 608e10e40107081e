"""Forms, cookies and headers of the dashboard, over every route that it has."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import APIRoute

from app.auth.sessions import COOKIE
from app.web.csrf import csrf_token, is_valid
from app.web.pages import ROUTERS
from app.web.session import safe_target
from tests.app.api import Service

pytestmark = pytest.mark.slow

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
READS = [route for route in ROUTES if "GET" in (route.methods or ())]
WRITES = [route for route in ROUTES if "POST" in (route.methods or ()) and route.path.startswith("/ui")]


def filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "x", path)


def log_in(service: Service, owner: str = "alice") -> dict[str, str]:
    """The headers of a browser that is logged in, as a page of the service would send them with a form."""
    form = service.http.get("/login").text
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', form)
    assert token
    answer = service.http.post(
        "/login", data={"token": service.tokens[owner], "csrf": token[1]}, follow_redirects=False
    )
    assert answer.status_code == 303
    secret = answer.cookies[COOKIE]
    service.http.cookies.clear()
    return {"Cookie": f"{COOKIE}={secret}", "X-CSRF-Token": csrf_token(secret), "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("route", READS, ids=lambda route: route.path)
def test_pages_have_the_security_headers_and_need_a_session(service: Service, route: APIRoute) -> None:
    answer = service.http.get(filled(route.path), follow_redirects=False)
    if not route.path.startswith("/login"):
        assert answer.status_code == 401
        assert "http-equiv" in answer.text or "HX" in str(answer.headers)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for name in ("x-content-type-options", "referrer-policy", "cross-origin-opener-policy"):
        assert name in answer.headers
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.path)
@pytest.mark.parametrize(
    "change",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "of another session"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ],
    ids=str,
)
def test_a_form_that_no_page_sent_is_refused(service: Service, route: APIRoute, change: dict[str, str]) -> None:
    if change.get("X-CSRF-Token"):
        change = {"X-CSRF-Token": csrf_token("another session")}
    answer = service.http.post(filled(route.path), headers=log_in(service) | change, follow_redirects=False)
    assert answer.status_code == 403
    assert "another site" in answer.text or "out of date" in answer.text


@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.path)
def test_a_token_in_the_header_posts_no_form(service: Service, route: APIRoute) -> None:
    headers = {"Authorization": f"Bearer {service.tokens['alice']}"}
    assert service.http.post(filled(route.path), headers=headers).status_code == 403


def test_the_api_takes_the_cookie_for_reading_alone(service: Service) -> None:
    headers = log_in(service)
    assert service.http.get("/jobs", headers=headers).status_code == 200
    answer = service.http.post("/jobs", json={"kind": "expert"}, headers=headers)
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "unauthenticated")
    assert service.http.delete("/tokens/tok_x", headers=headers).status_code == 401


def test_the_cookie_is_for_this_site_and_for_no_script(service: Service) -> None:
    form = service.http.get("/login").text
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', form)
    assert token
    data = {"token": service.tokens["alice"], "csrf": token[1], "next": "/ui/tokens"}
    answer = service.http.post("/login", data=data, follow_redirects=False)
    assert answer.headers["location"] == "/ui/tokens"
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}


def test_the_cookie_is_sent_over_https_alone_if_the_address_is_https(service: Service) -> None:
    from starlette.responses import Response

    from app.web.session import set_session

    settings = service.settings.model_copy(update={"public_url": "https://mcn.example.org"})
    response = Response()
    set_session(response, settings, "secret")
    assert response.headers["set-cookie"].startswith("__Host-mcn_session=secret")
    assert "secure" in response.headers["set-cookie"].lower()


def test_a_login_form_of_another_site_is_refused(service: Service) -> None:
    answer = service.http.post("/login", data={"token": service.tokens["alice"]}, follow_redirects=False)
    assert answer.status_code == 403


def test_a_session_ends_with_its_token_and_with_logging_out(service: Service) -> None:
    headers = log_in(service)
    assert service.http.get("/ui/tokens", headers=headers).status_code == 200
    assert service.http.post("/ui/logout", headers=headers, follow_redirects=False).status_code == 303
    assert service.http.get("/ui/tokens", headers=headers).status_code == 401
    headers = log_in(service)
    tokens: list[dict[str, Any]] = service.get("/tokens").json()["items"]
    token_id = next(token["id"] for token in tokens if token["owner"] == "alice")
    admin = {"Authorization": f"Bearer {service.tokens['admin']}"}
    assert service.http.delete(f"/tokens/{token_id}", headers=admin).status_code == 204
    assert service.http.get("/ui/tokens", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "following"),
    [
        ("GET", "/ui/jobs?status=failed", {}, "/ui/jobs%3Fstatus%3Dfailed"),
        ("POST", "/ui/logout", {}, "/ui/jobs"),
        ("POST", "/ui/theme", {"HX-Request": "true", "HX-Current-URL": "http://lab/ui/about?x=1"}, "/ui/about%3Fx%3D1"),
        ("GET", "/ui/jobs/x/head", {"HX-Request": "true", "HX-Current-URL": "http://lab/ui/jobs/x"}, "/ui/jobs/x"),
        ("GET", "/ui/jobs", {"HX-Request": "true", "HX-Current-URL": "http://[lab"}, "/ui/jobs"),
    ],
)
def test_the_login_leads_back_to_a_page(
    service: Service, method: str, path: str, headers: dict[str, str], following: str
) -> None:
    answer = service.http.request(method, path, headers=headers)
    assert answer.status_code == 401
    login = re.search(r'/login[^"]*', answer.headers.get("hx-redirect") or answer.text)
    assert login
    assert login[0] == f"/login?next={following}"


def test_a_login_link_works_once(service: Service) -> None:
    headers = {"Authorization": f"Bearer {service.tokens['eve']}"}
    link = service.http.post("/login-links", headers=headers).json()
    path = "/login/once/" + link["url"].rpartition("/")[2]
    # Whoever only looks at the link does not use it up.
    for _ in range(2):
        form = service.http.get(path)
        assert form.status_code == 200
    token = re.search(r'name="csrf" value="([0-9a-f]+)"', form.text)
    assert token
    first = service.http.post(path, data={"csrf": token[1]}, follow_redirects=False)
    assert (first.status_code, COOKIE in first.cookies) == (303, True)
    again = service.http.post(path, data={"csrf": token[1]}, follow_redirects=False)
    assert (again.status_code, "has been used or has expired" in again.text) == (401, True)


def test_csrf_tokens_differ_and_belong_to_a_session() -> None:
    first, second = csrf_token("secret"), csrf_token("secret")
    assert first != second
    assert is_valid(first, "secret")
    assert is_valid(second, "secret")
    assert not is_valid(first, "other")
    assert not is_valid("zz", "secret")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/ui/jobs?state=failed", "/ui/jobs?state=failed"),
        ("https://evil.example/", "/ui/jobs"),
        ("//evil.example/", "/ui/jobs"),
        ("/\\evil.example", "/ui/jobs"),
        ("/login", "/ui/jobs"),
        ("", "/ui/jobs"),
        ("/ui/\r\nSet-Cookie: a=b", "/ui/jobs"),
    ],
)
def test_the_login_leads_to_pages_of_this_service_alone(target: str, expected: str) -> None:
    assert safe_target(target) == expected
