"""Many requests at once are all answered, although each needs threads and connections that others hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.http.concurrent_requests import MAX_REQUESTS, ConcurrentRequests
from app.models import State
from tests.app.api import Service

DEADLINE_S = 20.0


def send_together(service: Service, requests: list[tuple[str, str]]) -> Counter[int]:
    """The numbers of answers by status."""

    async def send() -> Counter[int]:
        headers = {"Authorization": f"Bearer {service.tokens['admin']}"}
        transport = httpx.ASGITransport(app=service.app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client,
            asyncio.timeout(DEADLINE_S),
        ):
            answers = await asyncio.gather(*(client.request(method, path) for method, path in requests))
        return Counter(answer.status_code for answer in answers)

    portal: Any = service.http.portal
    found: Counter[int] = portal.call(send)
    return found


@pytest.mark.parametrize("path", ["progress", "attempts"])
def test_two_hundred_reads_at_once_are_answered(service: Service, path: str) -> None:
    job_id = service.submit()
    assert send_together(service, [("GET", f"/jobs/{job_id}/{path}")] * 200) == {200: 200}


def test_a_hundred_changes_at_once_are_answered(service: Service) -> None:
    job_id = service.submit()
    service.transition(job_id, State.cancelled)
    answered = send_together(service, [("POST", f"/jobs/{job_id}/pause"), ("GET", "/jobs")] * 100)
    assert answered == {409: 100, 200: 100}


class Application:
    """Answers once it is released; with `streams` it then never ends."""

    def __init__(self, *, streams: bool = False) -> None:
        self.running = 0
        self.release = asyncio.Event()
        self.bodies: list[bytes] = []
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        if scope["method"] == "POST":
            body = b""
            while (message := await receive()).get("more_body"):
                body += message["body"]
            self.bodies.append(body + message["body"])
        await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if self._streams:
            await asyncio.Event().wait()


async def no_send(_: Message) -> None:
    pass


def scope(method: str = "GET", path: str = "/jobs") -> Scope:
    headers = [(b"content-length", b"4")] if method == "POST" else []
    return {"type": "http", "method": method, "path": path, "headers": headers}


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def never() -> Message:
    return await asyncio.Future()


def test_a_stream_counts_until_it_begins_and_health_never() -> None:
    async def body() -> None:
        application = Application(streams=True)
        limited = ConcurrentRequests(application)
        tasks = [asyncio.create_task(limited(scope(), never, no_send)) for _ in range(MAX_REQUESTS + 5)]
        await turns()
        assert application.running == MAX_REQUESTS
        for path in ("/healthz", "/readyz"):
            tasks.append(asyncio.create_task(limited(scope(path=path), never, no_send)))
        await turns()
        assert application.running == MAX_REQUESTS + 2
        application.release.set()
        await turns()
        assert application.running == MAX_REQUESTS + 7
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(body())


def test_requests_whose_bodies_have_not_arrived_hold_up_nobody() -> None:
    async def body() -> None:
        application = Application()
        application.release.set()
        limited = ConcurrentRequests(application)
        parts: asyncio.Queue[Message] = asyncio.Queue()
        slow = [asyncio.create_task(limited(scope("POST"), parts.get, no_send)) for _ in range(MAX_REQUESTS)]
        await turns()
        await asyncio.wait_for(limited(scope(), never, no_send), DEADLINE_S)
        assert application.running == 1
        for _ in slow:
            for part in (b"ab", b"cd"):
                parts.put_nowait({"type": "http.request", "body": part, "more_body": part == b"ab"})
                await turns()
        await asyncio.wait_for(asyncio.gather(*slow), DEADLINE_S)
        assert sum(map(len, application.bodies)) == 4 * MAX_REQUESTS

    asyncio.run(body())
