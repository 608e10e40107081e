"""Sends webhooks: a thread for each address, so that one which does not answer holds up nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import reading, transaction
from app.jobs import webhook_queries
from app.jobs.webhook_queries import ClaimedDelivery
from app.settings import Settings

log = logging.getLogger(__name__)
# How long a delivery that is due may wait for its thread to look.
POLL_INTERVAL_S = 1.0
# How long a thread waits when the database cannot be used, or something else is wrong on this side.
RETRY_INTERVAL_S = 5.0
# For everything from the name look-up to the status: a server that answers byte by byte gets no more.
SEND_LIMIT_S = 5.0


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `X-MCN-Signature`."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class Receiver:
    """An address, to which one thread sends."""

    def __init__(self, engine: Engine, number: int, address: str, secret: str) -> None:
        self._engine, self._address, self._secret = engine, address, secret
        # Paths and passwords of addresses may be secret: logs have the position in the setting, and the host.
        self.name = f"address {number} of MCN_WEBHOOK_URL ({urlsplit(address).netloc.rpartition('@')[2]})"
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            # Neither proxies nor passwords of the environment; certificates that it names are trusted.
            trust_env=False,
            verify=httpx.create_ssl_context(),
            follow_redirects=False,
            timeout=SEND_LIMIT_S,
            # A server may close an idle connection at the moment when the next delivery is sent.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def send_due(self, stopping: threading.Event) -> None:
        """Sends what is due, one delivery after another, until nothing is or the worker stops."""
        while not stopping.is_set():
            # A read transaction first: it holds up no writer.
            with reading(self._engine) as session:
                if not webhook_queries.has_due_delivery(session, self._address):
                    return
            with transaction(self._engine) as session:
                claimed = webhook_queries.claim_delivery(session, self._address)
            if claimed is not None:
                self._send(claimed)

    def _send(self, claimed: ClaimedDelivery) -> None:
        problem = self._runner.run(self._post(claimed))
        with transaction(self._engine) as session:
            if problem is None:
                webhook_queries.mark_delivered(session, claimed)
                return
            given_up = webhook_queries.mark_failed(session, claimed)
        facts = (claimed.delivery_id, self.name, claimed.attempt, problem)
        if given_up:
            log.warning("webhook %s to %s was given up after %d attempts: %s", *facts)
        else:
            log.info("webhook %s to %s failed in attempt %d and will be sent again: %s", *facts)

    async def _post(self, claimed: ClaimedDelivery) -> str | None:
        """Sends a delivery; returns what went wrong, None if it has been delivered."""
        body, timestamp = claimed.body.encode(), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mcn-fusion",
            "X-MCN-Delivery": claimed.delivery_id,
            "X-MCN-Timestamp": timestamp,
            "X-MCN-Signature": signature(self._secret, timestamp, body),
        }
        status = None
        try:
            async with (
                asyncio.timeout(SEND_LIMIT_S),
                # As a stream, whose body is not read: it may be endless.
                self._client.stream("POST", self._address, content=body, headers=headers) as response,
            ):
                status = response.status_code
        except (TimeoutError, httpx.TimeoutException):
            problem = f"no complete answer within {SEND_LIMIT_S:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        # What goes wrong after the status, while the connection is closed, changes nothing.
        if status is None:
            return problem
        if 200 <= status < 300:
            return None
        return f"the answer was {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")


class WebhookSender:
    """The threads that send to the addresses of the settings."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        # It logs whole addresses.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._engine, self._secret = engine, settings.webhook_secret or ""
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number, address), name=f"webhooks-{number}", daemon=True)
            for number, address in enumerate(settings.webhook_url, 1)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, limit_s: float) -> None:
        """Lets the threads finish what they are sending, within a time limit."""
        self._stopping.set()
        deadline = time.monotonic() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, number: int, address: str) -> None:
        while not self._stopping.is_set():
            try:
                with Receiver(self._engine, number, address, self._secret) as receiver:
                    while not self._stopping.is_set():
                        receiver.send_due(self._stopping)
                        self._stopping.wait(POLL_INTERVAL_S)
            except SQLAlchemyError as error:  # the database may be unreachable for a while
                log.warning("webhooks have to wait, will try again: %s", error)
            except Exception:  # neither a defect nor unusable certificates may end the thread
                log.exception("webhooks to address %d of MCN_WEBHOOK_URL failed, will try again", number)
            self._stopping.wait(RETRY_INTERVAL_S)
