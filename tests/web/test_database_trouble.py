"""What a browser shows while the database cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.http.request_bodies import MAX_BODY_BYTES
from tests.app.api import Service
from tests.web.test_security import log_in

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@contextmanager
def database_away(service: Service) -> Iterator[None]:
    """Puts a folder where the file of the database is."""
    file = service.settings.data_dir / "mcn.db"
    service.app.state.engine.dispose()
    aside = file.rename(file.with_name("aside.db"))
    file.mkdir()
    try:
        yield
    finally:
        service.app.state.engine.dispose()
        file.rmdir()
        aside.rename(file)


def is_problem(answer: Any) -> bool:
    return bool(answer.headers["content-type"] == "application/problem+json")


@pytest.mark.parametrize("path", ["/", "/ui/jobs", "/ui/new", "/ui/jobs?q=%22%3E%3Cscript%3E", "/docs"])
def test_a_browser_is_shown_a_page(service: Service, path: str) -> None:
    headers = log_in(service) | BROWSER
    with database_away(service):
        answer = service.http.get(path, headers=headers, follow_redirects=False)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "the database is not available at the moment" in answer.text
        assert "Try again</a>" in answer.text
        assert "<script>" not in answer.text
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert service.http.get(path, headers=headers, follow_redirects=False).status_code in (200, 303)


def test_a_form_that_is_sent_then_is_answered_with_a_page(service: Service) -> None:
    headers = log_in(service) | BROWSER
    with database_away(service):
        answer = service.http.post("/ui/new", data={"kind": "expert"}, headers=headers)
        assert answer.status_code == 503
        assert "nothing was changed, try again" in answer.text
        assert "<h1>" in answer.text
        # A link would not send the form again.
        assert "Try again</a>" not in answer.text


def test_scripts_and_clients_are_still_told_in_json(service: Service) -> None:
    headers = log_in(service)
    with database_away(service):
        answers = [
            service.http.get("/ui/-/jobs", headers=headers | BROWSER),
            service.http.get("/ui/jobs", headers=headers | BROWSER | {"HX-Request": "true"}),
            service.http.get("/ui/jobs", headers=headers),
            service.http.get("/jobs", headers=headers | BROWSER),
        ]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert all(is_problem(answer) for answer in answers)


def test_other_refusals_before_a_page_is_reached_are_pages_too(service: Service) -> None:
    headers = log_in(service) | BROWSER
    large = b"x" * (MAX_BODY_BYTES + 1)
    answer = service.http.post("/ui/new", content=large, headers=headers)
    assert answer.status_code == 413
    assert "<h1>Request body too large</h1>" in answer.text
    answer = service.http.delete("/ui/jobs", headers=headers)
    assert answer.status_code == 405
    assert "<h1>Method not allowed</h1>" in answer.text
    assert answer.headers["allow"]
    assert is_problem(service.http.post("/ui/new", content=large, headers=headers | {"Accept": "*/*"}))
