"""Sequences of requests against the OpenAPI description, where a request takes its ids from the answers before it."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections import Counter
from typing import Any
from urllib.parse import urlencode

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ensure_resource_availability,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    use_after_free,
)
from sqlmodel import SQLModel, col, delete, select

from app.db import reading, transaction
from app.jobs.transitions import TRANSITIONS
from app.models import TERMINAL_STATES, Event, Job, State, Token
from tests.app.api import Service
from tests.app.description import BODIES, LEFT_OUT, LINKS, load
from tests.app.simulated_worker import CONTENT, Worker

SOAK = bool(os.environ.get("MCN_SOAK"))
ROUNDS = (50, 50) if SOAK else (1, 30)
SCENARIOS, STEPS = 4, 35
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    use_after_free,
    ensure_resource_availability,
]
EVENTS, LOGS = "GET /jobs/{job_id}/events", "GET /jobs/{job_id}/logs"
COMPONENT = "GET /jobs/{job_id}/components/{name}"
# What a job has only once it has succeeded.
RESULTS = {f"GET /jobs/{{job_id}}/{name}" for name in ("result", "predictions", "report", "report.svg")}
RANGES = {
    "bytes=0-3": 206, "bytes=-2": 206, "bytes=0-1,4-5": 206, "bytes=99999-": 416, "bytes=5-2": 200, "bytes=": 200,
    "lines=1-2": 200,
}  # fmt: skip
# What has to have come about in a run, lest it show nothing.
REACHED = {
    ("POST /jobs", 201), ("POST /jobs", 422), ("GET /jobs", 200),
    ("GET /jobs/{job_id}", 200),
    ("POST /jobs/{job_id}/cancel", 202), ("POST /jobs/{job_id}/cancel", 409),
    ("POST /jobs/{job_id}/pause", 202), ("POST /jobs/{job_id}/pause", 409),
    ("POST /jobs/{job_id}/resume", 202), ("POST /jobs/{job_id}/resume", 409),
    ("POST /jobs/{job_id}/retry", 202), ("POST /jobs/{job_id}/retry", 409),
    ("DELETE /jobs/{job_id}", 200), ("DELETE /jobs/{job_id}", 409),
    ("GET /jobs/{job_id}/explain", 200), ("GET /jobs/{job_id}/ledger", 200),
    ("GET /jobs/{job_id}/progress", 200), ("GET /jobs/{job_id}/attempts", 200), (EVENTS, 200), (LOGS, 200),
    ("GET /jobs/{job_id}/metrics", 200), ("GET /jobs/{job_id}/metrics/series", 200),
    ("GET /components", 200), ("GET /components/{component_id}", 200),
    ("GET /jobs/{job_id}/metrics.csv", 200), ("GET /jobs/{job_id}/components", 200), (COMPONENT, 200),
    ("POST /tokens", 201), ("DELETE /tokens/{token_id}", 204),
}  # fmt: skip


class Calls:
    """How the state machine sends its requests and what it holds every answer to; the rules are the description's."""

    service: Service
    own_tokens: tuple[str, ...]
    reached: Counter[tuple[str, int]]
    moves: Counter[tuple[State, State]]
    recorder: Any

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        """Every sequence begins with an empty service: what is drawn must not depend on the sequence before."""
        self._chance = random.Random(seed)
        self._worker = Worker(self.service, self._chance)
        self._said: list[str] = []
        with transaction(self.service.app.state.engine) as session:
            for table in reversed(SQLModel.metadata.sorted_tables):
                if table.name != Token.__tablename__:
                    session.execute(table.delete())
            session.execute(delete(Token).where(col(Token.id).not_in(self.own_tokens)))
        shutil.rmtree(self.service.settings.runs_dir, ignore_errors=True)

    def call(self, case: Any, **_kwargs: Any) -> Response:
        """Sends a request with the application's own client."""
        job_id = str((case.path_parameters or {}).get("job_id"))
        while self._chance.random() < 0.6:
            self._worker.work(job_id)
        label = case.operation.label
        if (case.path_parameters or {}).get("token_id") in self.own_tokens:
            case.path_parameters["token_id"] = "tok_none"
        sent = case.as_transport_kwargs(base_url="http://testserver")
        # A stream goes on until its job has ended.
        ended = self._ended(job_id)
        query = sent["params"] if ended or "follow" not in str(sent["params"]) else {}
        if isinstance(query, dict):
            query = urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
        # Another member and a viewer, to whom nothing here belongs, ask now and then.
        self._user = self._chance.choice(["admin"] * 12 + ["bob", "eve"])
        headers = {name: str(value).encode("latin-1") for name, value in sent["headers"].items()}
        headers["Authorization"] = f"Bearer {self.service.tokens[self._user]}".encode()
        headers["Accept"] = (
            b"text/event-stream" if label == EVENTS and ended and self._chance.random() < 0.5 else b"*/*"
        )
        if label == COMPONENT and self._chance.random() < 0.7:
            headers["Range"] = self._chance.choice(list(RANGES)).encode()
        content = json.dumps(sent["json"]).encode() if "json" in sent else sent.get("data")
        # No client sends addresses that are longer.
        url = f"{sent['url']}?{query}"[:60_000]
        answer = self.service.http.request(sent["method"], url, headers=headers, content=content)
        self.reached[label, answer.status_code] += 1
        self._said.append(f"{self._user}: {sent['method']} {url} {content!r}: {answer.status_code}")
        return Response.from_any(answer)

    def _ended(self, job_id: str) -> bool:
        with reading(self.service.app.state.engine) as session:
            return (
                session.exec(select(Job.id).where(Job.id == job_id, col(Job.state).not_in(TERMINAL_STATES))).first()
                is None
            )

    def validate_response(self, response: Response, case: Any, **_kwargs: Any) -> None:
        """Holds an answer to the description, and to what the answers before it said is there."""
        try:
            # A job has no result before it has succeeded.
            is_visible = self._user == "admin" and case.operation.label not in RESULTS
            hidden = [] if is_visible else [ensure_resource_availability]
            case.validate_response(response, checks=CHECKS, excluded_checks=hidden, recorder=self.recorder)
            types = case.operation.schema.get_content_types(case.operation, response)
            assert types or not response.content, f"nothing describes the content of {response.status_code}"
        except (AssertionError, FailureGroup):
            print("\n".join(self._said))
            raise

    def teardown(self) -> None:
        """Every job has gone from state to state as the graph has it."""
        with reading(self.service.app.state.engine) as session:
            rows = session.exec(select(Event).where(Event.type == "state").order_by(col(Event.id)))
            states: dict[str, list[State]] = {}
            for row in rows:
                states.setdefault(row.job_id, []).append(State(row.data["state"]))
        for path in states.values():
            assert path[0] in (State.waiting, State.queued)
            made = list(itertools.pairwise(path))
            assert all(after in TRANSITIONS[before] for before, after in made), path
            self.moves.update(made)


@pytest.mark.parametrize(("requested", "status"), RANGES.items())
def test_a_range_is_sent_refused_or_ignored(service: Service, requested: str, status: int) -> None:
    job_id = service.submit()
    worker = Worker(service, random.Random(0))
    worker.work(job_id)
    worker.work(job_id)
    answer = service.get(f"/jobs/{job_id}/components/expert_0", headers={"Range": requested})
    assert answer.status_code == status
    if status == 200:
        assert answer.content == CONTENT


def test_no_sequence_of_requests_breaks_the_service(service: Service) -> None:
    seed = int(os.environ.get("MCN_SEED") or random.randrange(2**32))
    print(f"MCN_SEED={seed}")
    description = service.get("/openapi.json").json()
    del description["paths"]["/events"]  # a stream without an end
    for (path, method, status), links in LINKS.items():
        description["paths"][path][method]["responses"][status]["links"] = links
    for operation in [operation for path in description["paths"].values() for operation in path.values()]:
        kept = [given for given in operation.get("parameters", ()) if given["name"] not in LEFT_OUT]
        for given in kept:
            if given["name"] == "limit":
                given["schema"]["maximum"] = 2  # or there is no next page
        operation["parameters"] = kept
    for path, bodies in BODIES.items():
        description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"] = {"enum": bodies}
    loaded = load(service, description)
    with reading(service.app.state.engine) as session:
        own_tokens = tuple(session.exec(select(Token.id)))
    shared: dict[str, Any] = {"service": service, "own_tokens": own_tokens, "reached": Counter(), "moves": Counter()}
    rules = loaded.as_state_machine()
    # Sequences begin with what needs no id: test_schema.py guesses ids.
    labels = {label for label in rules._root_labels if "{" not in label}
    guesses = dict.fromkeys(name for name in rules.root_rules if "_id" in name)
    assert guesses
    shared |= {"_root_labels": frozenset(labels), **guesses}
    machine: Any = type("Machine", (Calls, rules), shared)
    settings = hypothesis.settings(
        max_examples=SCENARIOS,
        stateful_step_count=STEPS,
        phases=[hypothesis.Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    missing: set[Any] = set()
    for number in range(ROUNDS[1]):
        hypothesis.seed(seed + number)(machine).run(settings=settings)
        missing = REACHED - machine.reached.keys() | set(State) - {state for made in machine.moves for state in made}
        if number + 1 >= ROUNDS[0] and not missing:
            break
    assert not missing
