"""The HTTP API as the command line calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.cli.client import TERMINAL_STATES, Api, ApiError
from app.cli.event_stream import parse_events
from app.models import TERMINAL_STATES as MODEL_TERMINAL_STATES
from app.settings import Settings
from tests.app.cli.conftest import Handler
from tests.app.cli.streams import StreamService, progress_event, state_event

FakeApi = Callable[[Handler], Api]


def test_terminal_states_are_those_of_the_models() -> None:
    assert tuple(state.value for state in MODEL_TERMINAL_STATES) == TERMINAL_STATES


def test_events_of_a_broken_stream_come_once_and_in_order(fake_api: FakeApi) -> None:
    events = [progress_event(k, 10 + k) for k in range(1, 20)]
    service = StreamService({"job_1": [*events, state_event(20, "failed")]}, breaks_after=[3, 4, 20])
    ids = [event["id"] for event in fake_api(service).events("job_1")]
    assert ids == list(range(1, 21))


def test_events_after_an_id_are_those_that_follow_it(fake_api: FakeApi) -> None:
    service = StreamService({"job_1": [progress_event(1, 11), progress_event(2, 12), state_event(3, "succeeded")]})
    assert [event["id"] for event in fake_api(service).events("job_1", after=2)] == [3]


def test_a_response_that_is_not_a_stream_is_an_error(fake_api: FakeApi) -> None:
    api = fake_api(lambda request: httpx.Response(200, json={"items": []}))
    with pytest.raises(ApiError, match="does not stream events"):
        list(api.events("job_1"))


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (401, 1), (404, 2), (409, 1), (422, 2), (500, 1), (503, 1)]
)
def test_the_exit_code_tells_wrong_usage_from_failure(fake_api: FakeApi, status: int, exit_code: int) -> None:
    api = fake_api(lambda request: httpx.Response(status, json={"detail": "no"}))
    with pytest.raises(ApiError, match="no") as caught:
        api.get("/jobs")
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("token", ["bad", "Bearer mcn_x", "mcn_ü"])
def test_what_is_no_token_is_named_before_anything_is_sent(tmp_path: Path, token: str) -> None:
    with pytest.raises(ApiError, match="MCN_TOKEN is not a valid token: a token is mcn_ and letters"):
        Api(Settings(data_dir=tmp_path, token=token, url="http://127.0.0.1:1"))


@pytest.mark.parametrize("body", ["<html>", "{}", "[]"])
def test_an_error_without_a_problem_document_names_the_status(fake_api: FakeApi, body: str) -> None:
    api = fake_api(lambda request: httpx.Response(502, text=body))
    with pytest.raises(ApiError, match="502 Bad Gateway"):
        api.get("/jobs")


def test_comments_cut_events_and_events_without_data_are_skipped() -> None:
    lines = [": hello", "", "retry: 1000", "", "id:1", "event: log", 'data: {"a":', "data: 1}", "", "id: 2", "data: 5"]
    assert list(parse_events(lines)) == [{"id": 1, "type": "log", "data": {"a": 1}}]
