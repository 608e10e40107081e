"""The page of tokens, without a browser."""

from __future__ import annotations

import re
from datetime import timedelta

from app.auth import service as tokens
from app.db import now, transaction
from app.models import Role
from tests.app.api import Service
from tests.web.test_security import log_in
from tests.web.test_sweeps import read, text_of


def test_the_page_says_what_a_token_is_for_what_it_may_do_and_when_it_ends(service: Service) -> None:
    text = text_of(read(service, "/ui/tokens"))
    assert 'curl -H "Authorization: Bearer $MCN_TOKEN" http' in text
    assert "mcn login" in text
    assert all(role in text[text.index("What a role may do") :] for role in Role)
    assert "or never if none are given" in text
    assert "every token that was created with it" in text
    # Viewers read it too, but have nothing to press.
    text = read(service, "/ui/tokens", user="eve")
    assert "What a role may do" in text
    assert "Create token" not in text
    assert "Revoke</button>" not in text


def test_a_new_token_is_shown_once_with_a_way_to_copy_it(service: Service) -> None:
    headers = log_in(service, "alice")
    answer = service.http.post("/ui/tokens", data={"name": "laptop", "role": "viewer"}, headers=headers)
    secret = re.search(r'data-copy="(mcn_[^"]+)"', answer.text)
    assert secret
    assert "it is shown this once" in answer.text
    assert service.http.get("/me", headers={"Authorization": f"Bearer {secret[1]}"}).json()["role"] == "viewer"
    assert secret[1] not in service.http.get("/ui/tokens", headers=headers).text


def test_a_token_that_expires_says_that_its_tokens_do_too(service: Service) -> None:
    with transaction(service.app.state.engine) as session:
        _, secret = tokens.new_token(
            session, name="short", owner="alice", role=Role.member, expires_at=now() + timedelta(days=1)
        )
    service.tokens["short"] = secret
    html = read(service, "/ui/tokens", user="short")
    assert "at the latest with yours" in text_of(html)
    assert 'placeholder="as yours does"' in html
