"""uvicorn's httptools protocol with limits on header size, connections and time.

uvicorn leaves these to a proxy in front: httptools buffers a header without end, and nothing closes a connection that
sends a byte now and then. uvicorn takes this class by `--http app.http.guarded_protocol:GuardedProtocol`.
"""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http.errors import HeadersTooLarge, Problem, RequestTimeout, Unavailable
from app.http.responses import answer_problem
from app.http.security_headers import SECURITY_HEADERS

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

# Open files that are not client connections: database connections, downloads, logs.
RESERVED_FILES = 256


def connection_limit(maximum: int) -> int:
    """At most `maximum` connections, or as many as the limit on open files permits."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return maximum if soft == resource.RLIM_INFINITY else max(16, min(maximum, soft - RESERVED_FILES))


class GuardedProtocol(HttpToolsProtocol):
    """One client connection.

    A request's line and headers (and trailers) have at most `max_head_bytes` and `head_timeout_s`, its body has
    `body_timeout_s`, both from the first byte on. A client that reads nothing of a response for `write_timeout_s` is
    disconnected, and connections beyond `max_connections` are refused. Size limits of bodies are not enforced here.
    """

    max_head_bytes = 32 << 10
    max_connections = connection_limit(6_000)
    max_pipelined = 32
    head_timeout_s = 10.0
    body_timeout_s = 30.0
    write_timeout_s = 60.0
    # httptools parses all the data of a call, so large reads are split.
    piece_bytes = 16 << 10

    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _in_body = False
    # The request that is being answered; `cycle` is that which arrived last.
    _answered: RequestResponseCycle | None = None
    # Bytes since the parser last completed a head or made progress in a body.
    _unparsed_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.max_connections:
            self.transport = transport
            problem = Unavailable("too many open connections: try again later", headers={"Retry-After": "5"})
            transport.write(serialize(problem))
            transport.close()
            return
        super().connection_made(transport)
        self._set_deadline(self.head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline = None
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        if self._answered is not None and not self._answered.response_complete:
            # uvicorn tells the request that arrived last only, and this one would write to a closed connection.
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._set_deadline(self.head_timeout_s)
        if len(data) <= self.piece_bytes:
            self._feed(data)
            return
        for start in range(0, len(data), self.piece_bytes):
            if self.transport.is_closing():
                return
            self._feed(data[start : start + self.piece_bytes])

    def _feed(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        if self._unparsed_bytes > self.max_head_bytes:
            self._refuse(HeadersTooLarge(f"the request line and headers exceed {self.max_head_bytes:,} bytes"))
            return
        super().data_received(data)
        if len(self.pipeline) > self.max_pipelined:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._unparsed_bytes = 0
        self._in_body = True
        self._set_deadline(self.body_timeout_s)

    def on_chunk_header(self) -> None:
        """The parser has read the size of a chunk."""
        self._unparsed_bytes = 0

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._in_body = False
        self._deadline = None
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds
        # One timer is kept over many requests: most of them are complete long before it fires.
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline is None or self.transport.is_closing():
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        elif self._in_body:
            self._refuse(RequestTimeout(f"the body did not arrive within {self.body_timeout_s:.0f} s"))
        elif self._unparsed_bytes:
            self._refuse(RequestTimeout(f"the headers did not arrive within {self.head_timeout_s:.0f} s"))
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Close the connection, with a response if none has begun to the request that is being received."""
        cycle = self.cycle
        pending = cycle is not None and not cycle.response_complete
        if pending:
            # The application sees a client that has disconnected.
            cycle.disconnected = True
            cycle.message_event.set()
        # In a body, the response belongs to this very request; between bodies, to one that has not been handed over.
        awaited = pending and not cycle.response_started if self._in_body else not pending
        if awaited and not self.pipeline:
            self.transport.write(serialize(problem))
            self.transport.close()
        elif pending:
            self.transport.abort()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Problem(f"not a valid HTTP request: {msg}"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _watch_writing(self, buffered_bytes: int) -> None:
        self._write_timer = self.loop.call_later(self.write_timeout_s, self._check_writing, buffered_bytes)

    def _check_writing(self, before_bytes: int) -> None:
        buffered_bytes = self.transport.get_write_buffer_size()
        if buffered_bytes < before_bytes:
            self._watch_writing(buffered_bytes)
        else:
            self.transport.abort()


def serialize(problem: Problem) -> bytes:
    """A problem as a whole HTTP/1.1 response that closes the connection."""
    response = answer_problem(problem)
    response.headers.update({**SECURITY_HEADERS, "Connection": "close"})
    head = f"HTTP/1.1 {problem.status} {problem.title}\r\n".encode()
    fields = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return head + fields + b"\r\n" + cast(bytes, response.body)
