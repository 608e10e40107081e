"""The public API as the command line uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from app.settings import Settings


class ApiError(Exception):
    """What the API refused, in its own words; `wrong_use` for what the caller could have known."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def exit_code(self) -> int:
        """What a command ends with: 2 where the request was wrong in itself, 1 where it was not to be had."""
        return 2 if self.status in (400, 404, 422) else 1


class Api:
    """A connection with a token; errors are ApiError with a sentence for a person."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.api_url
        token = settings.token or _admin_token(settings)
        if token is not None and not token.isascii():
            raise ApiError("MCN_TOKEN is no token: one looks like mcn_ and letters, digits, - and _", status=401)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=30.0)

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """JSON of a GET."""
        return self._call("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """JSON of a POST."""
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self._call("POST", path, content=content, headers=headers, **options)

    def delete(self, path: str) -> Any:
        """JSON of a DELETE; None where there is no content."""
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if answer.is_error:
            raise refusal(answer)
        return answer.json() if answer.content else None

    @contextmanager
    def stream(self, path: str, *, headers: dict[str, str] | None = None, **params: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes."""
        timeout = httpx.Timeout(30.0, read=60.0)
        try:
            with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def events(self, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """A job's events until it has ended, by one connection after another."""
        last = after
        while True:
            ended = False
            try:
                headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
                with self.stream(f"/jobs/{job_id}/events", headers=headers) as answer:
                    for event in _parse(answer.iter_lines()):
                        last = event["id"]
                        ended = event["type"] == "state" and event["data"]["state"] in TERMINAL_STATES
                        yield event
            except ApiError as error:
                if error.status:
                    raise
                self.get("/healthz")
            if ended or self.get(f"/jobs/{job_id}")["state"] in TERMINAL_STATES:
                return

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        return ApiError(
            f"{self.url} cannot be reached ({error or type(error).__name__}): start it with `mcn up`, or set MCN_URL"
        )


TERMINAL_STATES = ("succeeded", "failed", "cancelled")


def refusal(answer: httpx.Response) -> ApiError:
    """An error answer as a person reads it."""
    try:
        said = answer.json()
        message = str(said.get("detail") or said.get("title"))
    except (ValueError, AttributeError):
        message = f"{answer.status_code} {answer.reason_phrase}"
    if answer.status_code == 401:
        message += " (MCN_TOKEN, or the file admin-token in MCN_DATA_DIR)"
    return ApiError(message, status=answer.status_code)


def _admin_token(settings: Settings) -> str | None:
    try:
        return (settings.data_dir / "admin-token").read_text().strip()
    except OSError:
        return None


def _parse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            event["id"] = int(value)
        elif name == "event":
            event["type"] = value
        elif name == "data":
            event["data"] = json.loads(value)
        elif not line and "data" in event:
            yield event
            event = {}
