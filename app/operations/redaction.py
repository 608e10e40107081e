"""What must not be in a log: tokens, login codes, passwords in URLs, and the secrets among the settings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import unquote

from app.settings import Settings

HIDDEN = "***"
# Shorter ones may be words that occur everywhere, as `mcn` does.
MIN_LENGTH = 8
_PATTERNS = (
    # Up to the last @, since a password that is not encoded may contain one.
    re.compile(r"(\w://[^\s:/@\"']*:)[^\s\"']*(?=@)"),
    re.compile(r"(\bmcn_)[A-Za-z0-9_-]{40,}"),
    re.compile(r"(/login/)[A-Za-z0-9_-]{16,}"),
    re.compile(r"(\bbearer\s+)[^\s\"',]+", re.IGNORECASE),
    re.compile(r"(\b(?:password|passwd|pwd|api_key|secret)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+", re.IGNORECASE),
)


class Redaction:
    """A processor of structlog that replaces secrets in every field of a record."""

    def __init__(self, settings: Settings) -> None:
        self._known = sorted({secret for secret in _secrets(settings) if len(secret) >= MIN_LENGTH}, key=len)[::-1]

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: value if isinstance(value, int | float) else self.text(value) for key, value in event.items()}

    def text(self, value: Any) -> str | None:
        """A value as text without secrets."""
        if value is None:
            return None
        text = str(value)
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        for pattern in _PATTERNS:
            text = pattern.sub(rf"\1{HIDDEN}", text)
        return text


def _secrets(settings: Settings) -> Iterator[str]:
    for url in (settings.database_url, settings.broker_url, *settings.webhook_url):
        # Also if it is not a URL that can be split: then it is hidden by the patterns.
        password = url and "@" in url and url.rpartition("@")[0].partition("://")[2].partition(":")[2]
        if password:
            yield from (password, unquote(password))
    # The path of an address may be all that a receiver checks.
    known = (*settings.webhook_url, settings.token, settings.webhook_secret, os.environ.get("WANDB_API_KEY"))
    yield from (secret for secret in known if secret)
