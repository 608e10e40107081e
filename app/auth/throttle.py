"""Slows down clients that try tokens, sessions or login links which do not exist.

Nobody can guess a token, but every guess asks the database. Failures are counted by the peer's address, which many
clients may share: those whose credentials are known to be good are let through whatever the others do.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.types import Scope

from app.auth.credentials import sha256_of
from app.http.errors import TooManyRequests, Unauthenticated

log = logging.getLogger(__name__)
T = TypeVar("T")
# Failures of one address within `WINDOW_S` after which it has to wait between two tries.
MAX_FAILURES = 20
WINDOW_S = 60.0
# The wait doubles with every further failure.
FIRST_DELAY_S = 2.0
MAX_DELAY_S = 60.0
# After this time without a try of unknown credentials, an address starts anew.
FORGET_S = 600.0
# Beyond these, what was used least recently is forgotten.
MAX_ADDRESSES = 10_000
MAX_KNOWN = 20_000


@dataclass
class _Failures:
    """Those of one address; `delay_s` is 0 while it need not wait."""

    window_began: float
    latest: float
    count: int = 0
    delay_s: float = 0.0
    retry_at: float = 0.0


class Throttle:
    """Counts failures by address, and remembers the hashes of credentials that were good.

    A remembered hash does not authenticate: the database decides about every request that is let through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Requests are authenticated in several threads.
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def attempt(self, address: str, secret: str, authenticate: Callable[[], T]) -> T:
        """What `authenticate` returns; TooManyRequests, without calling it, if the address has to wait.

        Unauthenticated, if `authenticate` raises it, counts as a failure; other errors say nothing about the secret.
        """
        digest = sha256_of(secret)
        self._admit(address, digest)
        try:
            result = authenticate()
        except Unauthenticated:
            self._count_failure(address, digest)
            raise
        self.remember([digest])
        return result

    def trust(self, secret: str) -> None:
        """Remember a secret that was created just now."""
        self.remember([sha256_of(secret)])

    def remember(self, digests: Iterable[str]) -> None:
        """Remember the hashes of good secrets."""
        with self._lock:
            for digest in digests:
                self._known[digest] = None
                self._known.move_to_end(digest)
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)

    def _admit(self, address: str, digest: str) -> None:
        with self._lock:
            failures = self._failures.get(address)
            if digest in self._known or failures is None or not failures.delay_s:
                return
            at = self._clock()
            if at - failures.latest > FORGET_S:
                del self._failures[address]
            elif at < failures.retry_at:
                raise _refusal(failures.retry_at - at)
            else:
                # One request may try; the others wait as if it had failed.
                failures.retry_at = at + failures.delay_s

    def _count_failure(self, address: str, digest: str) -> None:
        with self._lock:
            self._known.pop(digest, None)
            at = self._clock()
            failures = self._failures.setdefault(address, _Failures(at, at))
            self._failures.move_to_end(address)
            if len(self._failures) > MAX_ADDRESSES:
                self._failures.popitem(last=False)
            failures.latest = at
            if not failures.delay_s:
                if at - failures.window_began > WINDOW_S:
                    failures.window_began, failures.count = at, 0
                failures.count += 1
                if failures.count < MAX_FAILURES:
                    return
                # Once for an address, until it has been quiet for `FORGET_S`.
                log.warning(
                    "%s sent %d unknown tokens, sessions or login links within %.0f s: others from there have to wait",
                    address, failures.count, WINDOW_S,
                )  # fmt: skip
            failures.delay_s = min(2 * failures.delay_s or FIRST_DELAY_S, MAX_DELAY_S)
            failures.retry_at = at + failures.delay_s


def _refusal(wait_s: float) -> TooManyRequests:
    seconds = max(1, math.ceil(wait_s))
    return TooManyRequests(
        f"too many unknown or expired tokens came from your address: check the token, and try again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )


def address_of(scope: Scope) -> str:
    """The peer's address; of IPv6 the network, since one client has all the addresses of a /64."""
    host, _ = scope.get("client") or ("unknown", 0)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv6Address):
        # A server that listens on both sees an IPv4 client as `::ffff:192.0.2.1`.
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


async def _throttle(request: Request) -> Throttle:
    throttle: Throttle = request.app.state.throttle
    return throttle


Throttled = Annotated[Throttle, Depends(_throttle)]
