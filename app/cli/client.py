"""The HTTP API as the command line calls it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from app.cli.event_stream import parse_events
from app.settings import Settings

# The same as app.models.TERMINAL_STATES, without loading the database library for every command.
TERMINAL_STATES = ("succeeded", "failed", "cancelled")
# How long a restarting service is waited for.
RETRY_LIMIT_S = 60.0
RETRY_DELAY_S = 0.5
AWAY = "The service is not reachable: trying again for a minute."
GOES_ON = "Its jobs go on without it; watch them again once it is back."
NOT_TEXT = "an argument has bytes that are not UTF-8 text: check the encoding of your terminal or script"
# Statuses of a request that is wrong in itself: what it names does not exist, or its values are not allowed.
USAGE_ERRORS = (400, 404, 405, 413, 414, 415, 422)
# The type of a 404 about something that an existing job does not have in its present state.
NOT_READY = "not-ready"


class ApiError(Exception):
    """A request that failed: the message is for the user, `status` is the HTTP status or 0 without a response.

    `type` is that of the service's problem, if the service answered with one.
    """

    def __init__(self, message: str, *, status: int = 0, type: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.type = type

    @property
    def exit_code(self) -> int:
        """The exit code of a command that fails with this error.

        2 for wrong usage; 1 where the same command could succeed in another state, with other rights, or later.
        """
        return 2 if self.status in USAGE_ERRORS and self.type != NOT_READY else 1

    @property
    def is_temporary(self) -> bool:
        """Whether the service may be restarting, so that the same request can succeed later."""
        return self.status in (0, 502, 503)


class Api:
    """An authenticated connection to the API. Every method raises ApiError. `say` tells the user about an outage."""

    def __init__(self, settings: Settings, say: Callable[[str], object] = lambda line: None) -> None:
        self.url = settings.api_url
        self._say = say
        # Whether the user knows that the service is away; several threads may notice it.
        self._is_away = False
        self._lock = threading.Lock()
        token = settings.token or _admin_token(settings)
        if token is not None and not (token.isascii() and token.startswith("mcn_")):
            raise ApiError("MCN_TOKEN is not a valid token: a token is mcn_ and letters, digits, - or _", status=401)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=30.0)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON response to a GET. Parameters that are None are left out."""
        return self._request("GET", path, params={key: value for key, value in params.items() if value is not None})

    def get_text(self, path: str, **params: Any) -> str:
        """The text of the response to a GET."""
        with self.stream(path, **params) as response:
            return response.read().decode()

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON response to a POST of JSON data, or of bytes that hold JSON."""
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self._request("POST", path, content=content, headers=headers, **options)

    def put(self, path: str, body: bytes) -> Any:
        """The JSON response to a PUT of bytes that hold JSON."""
        return self._request("PUT", path, content=body, headers={"Content-Type": "application/json"})

    def delete(self, path: str) -> Any:
        """The JSON response to a DELETE, None if it has no content."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except UnicodeEncodeError:
            raise ApiError(NOT_TEXT, status=400) from None
        if response.is_error:
            raise _api_error(response)
        return response.json() if response.content else None

    @contextmanager
    def stream(self, path: str, *, headers: dict[str, str] | None = None, **params: Any) -> Iterator[httpx.Response]:
        """The response to a GET, to be read as it arrives."""
        # The service sends a comment every 15 s on an idle event stream.
        timeout = httpx.Timeout(30.0, read=60.0)
        try:
            with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _api_error(response)
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except UnicodeEncodeError:
            raise ApiError(NOT_TEXT, status=400) from None

    def events(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """A job's events later than `after` until the job is in a terminal state, each `{"id", "type", "data"}`.

        After a broken connection it reconnects with `Last-Event-ID`. Raises ApiError if the service refuses the stream
        or stays unreachable for a minute.
        """
        has_ended = False
        while True:
            state = None
            try:
                headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
                with self.stream(f"/jobs/{job_id}/events", headers=headers) as response:
                    if not response.headers.get("content-type", "").startswith("text/event-stream"):
                        raise ApiError(f"{self.url} does not stream events", status=501)
                    for event in parse_events(response.iter_lines()):
                        after = event["id"]
                        state = event["data"]["state"] if event["type"] == "state" else state
                        yield event
                # The service closes the stream of a job that has ended, but also every stream when it stops.
                if has_ended or state in TERMINAL_STATES:
                    return
            except ApiError as error:
                if not error.is_temporary:
                    raise
            time.sleep(RETRY_DELAY_S)
            # If the job has ended meanwhile, one more connection gets the events that are still missing.
            has_ended = self.get_patiently(f"/jobs/{job_id}")["state"] in TERMINAL_STATES

    def get_patiently(self, path: str, **params: Any) -> Any:
        """The JSON response to a GET that is repeated while the service is unreachable, for at most a minute."""
        deadline = time.monotonic() + RETRY_LIMIT_S
        while True:
            try:
                response = self.get(path, **params)
            except ApiError as error:
                if not error.is_temporary:
                    raise
                if time.monotonic() > deadline:
                    raise ApiError(f"{error}. {GOES_ON}", status=error.status) from None
                self._set_away(True)
            else:
                self._set_away(False)
                return response
            time.sleep(RETRY_DELAY_S)

    def _set_away(self, is_away: bool) -> None:
        with self._lock:
            if is_away and not self._is_away:
                self._say(AWAY)
            self._is_away = is_away

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        reason = error or type(error).__name__
        return ApiError(f"{self.url} is not reachable ({reason}): start it with `mcn up`, or set MCN_URL")


def _api_error(response: httpx.Response) -> ApiError:
    message, problem_type = f"{response.status_code} {response.reason_phrase}", ""
    # A proxy in front of the service has errors of its own.
    with suppress(ValueError, AttributeError):
        problem = response.json()
        message = str(problem.get("detail") or problem.get("title") or message)
        problem_type = str(problem.get("type") or "")
    if response.status_code == 401:
        message += " (MCN_TOKEN, or the file admin-token in MCN_DATA_DIR)"
    return ApiError(message, status=response.status_code, type=problem_type)


def _admin_token(settings: Settings) -> str | None:
    try:
        return (settings.data_dir / "admin-token").read_text().strip()
    except OSError:
        return None
