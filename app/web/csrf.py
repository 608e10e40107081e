"""Protects forms against requests that another site has a browser send."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

from fastapi import Request

from app.http.errors import Forbidden

FIELD = "csrf"
HEADER = "X-CSRF-Token"
_BYTES = 32


def csrf_token(secret: str) -> str:
    """A token for a form of the session with this secret.

    It is masked with random bytes, so that it differs in every response and compression reveals nothing of it.
    """
    mask = secrets.token_bytes(_BYTES)
    return (mask + _xor(mask, _key(secret))).hex()


def is_valid(token: str, secret: str) -> bool:
    """Whether `csrf_token` made this token for the session."""
    try:
        raw = bytes.fromhex(token)
    except ValueError:
        return False
    return len(raw) == 2 * _BYTES and hmac.compare_digest(_xor(raw[:_BYTES], raw[_BYTES:]), _key(secret))


async def check_csrf(request: Request, secret: str | None) -> None:
    """Forbidden for a change that a page of this service did not send.

    Browsers state where a request comes from in `Sec-Fetch-Site` and `Origin`; they leave these out, or send
    `Origin: null`, where policies or plain HTTP require it, so the token decides.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin"):
        raise Forbidden("a page of another site sent this request")
    if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("a page of another site sent this request")
    token = request.headers.get(HEADER)
    if token is None:
        field = (await request.form()).get(FIELD)
        token = field if isinstance(field, str) else ""
    if secret is None or not is_valid(token, secret):
        raise Forbidden("this form is out of date: reload the page and send it again")


def _key(secret: str) -> bytes:
    return hashlib.sha256(b"csrf\0" + secret.encode()).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
