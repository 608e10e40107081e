"""No secret in a log line, wherever in the record it is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from app.operations.redaction import Redaction
from app.settings import Settings
from tests.app.operations.records import Records

TOKEN = "mcn_" + "aB3-_" * 8 + "xyz"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (f"curl with {TOKEN} failed", "curl with mcn_*** failed"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("GET /login/0123456789abcdefABCDEF 303", "GET /login/*** 303"),
        ("postgresql+psycopg://mcn:pass@db:5432/mcn is gone", "postgresql+psycopg://mcn:***@db:5432/mcn is gone"),
        ("redis://:p@ss/word@cache:6379/0", "redis://:***@cache:6379/0"),
        ("connect(host=db, password=hunter2, port=1)", "connect(host=db, password=***, port=1)"),
        ('{"api_key": "0123456789"}', '{"api_key": "***"}'),
    ],
)
def test_patterns_of_secrets_are_hidden(text: str, without: str, tmp_path: Path) -> None:
    assert Redaction(Settings(data_dir=tmp_path)).text(text) == without


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/jobs?q=a",
        "mcn_http_request_duration_seconds is slow",
        "job_01ABCDEFGHJKMNPQRSTVWXYZ00 of alice@example.org",
        "the password is wrong",
        "/data/mcn.db: no space left",
    ],
)
def test_everything_else_is_left_alone(text: str, tmp_path: Path) -> None:
    assert Redaction(Settings(data_dir=tmp_path)).text(text) == text


def test_the_secrets_of_the_settings_are_hidden_in_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "w" * 40)
    url = "postgresql://mcn:long%20password@db/mcn"
    hooks: dict[str, Any] = {
        "webhook_url": ("https://me:password1@a.example/key",),
        "webhook_secret": "secret of webhooks",
    }
    redaction = Redaction(
        Settings(data_dir=tmp_path, database_url=url, token="a-token-of-mine", broker_url="redis://x", **hooks)
    )
    text = f"long password, long%20password, a-token-of-mine, {'w' * 40}"
    assert redaction.text(text) == "***, ***, ***, ***"
    assert redaction.text("secret of webhooks, https://me:password1@a.example/key, password1") == "***, ***, ***"


@pytest.mark.parametrize("form", ["json", "console"])
def test_messages_fields_and_tracebacks_are_without_secrets(form: Any, tmp_path: Path) -> None:
    with Records(Settings(data_dir=tmp_path, log_format=form)) as records:
        try:
            raise ConnectionError(f"no answer to {TOKEN}")
        except ConnectionError:
            logging.getLogger("a").exception("with %s", TOKEN, extra={"reason": ["in a list", TOKEN]})
        text = records.text()
    assert TOKEN not in text
    assert text.count("mcn_***") == 3
