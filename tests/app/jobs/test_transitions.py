"""The state machine: `transition` performs exactly the documented edges, and refuses stale attempts."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text, update

from app.db import make_engine, transaction, upgrade
from app.jobs.queries import locked_job
from app.jobs.transitions import EDGES, TRANSITIONS, sources_of, transition
from app.models import TERMINAL_STATES, Job, State
from tests.app.api import Service
from tests.parts import wait_until


def test_transition_performs_exactly_the_edges_of_the_table(service: Service) -> None:
    job_id = service.submit()
    with transaction(service.app.state.engine) as session:
        for before, after in itertools.product(State, State):
            session.execute(update(Job).values(state=before.value))
            assert transition(session, job_id, after) == ((before, after) in EDGES), (before, after)


def test_a_stale_attempt_changes_no_state(service: Service) -> None:
    job_id = service.submit()
    with transaction(service.app.state.engine) as session:
        assert transition(session, job_id, State.starting, expected_attempt=0, attempt=1)
        assert not transition(session, job_id, State.running, expected_attempt=0)
        assert transition(session, job_id, State.running, expected_attempt=1)


def test_transitions_of_one_job_wait_for_each_other_without_a_deadlock(postgres_url: str) -> None:
    upgrade(postgres_url)
    engine = make_engine(postgres_url)
    with transaction(engine) as session:
        session.add(Job(id="job_1", kind="expert", name="", state="queued", owner="x", spec={}, defaulted=[]))

    def start() -> bool:
        with transaction(engine) as session:
            return transition(session, "job_1", State.starting)

    def start_waits() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            locked_job(session, "job_1")
            started = pool.submit(start)
            wait_until(start_waits, "the wait for the lock")
            assert transition(session, "job_1", State.cancelled)
        assert not started.result()
    engine.dispose()


def test_every_edge_is_explained_in_one_sentence() -> None:
    for edge, sentence in EDGES.items():
        assert re.fullmatch(r"[A-Z][^.]*\.", sentence), (edge, sentence)


def test_every_state_is_reachable_and_only_success_is_a_dead_end() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {(source, to) for source, targets in TRANSITIONS.items() for to in targets} == set(EDGES)
    assert all(source is not to for source, to in EDGES)
    assert {state for state in State if not TRANSITIONS[state]} == {State.succeeded}
    reached, frontier = set(), {State.waiting}
    while frontier:
        reached |= frontier
        frontier = {to for state in frontier for to in TRANSITIONS[state]} - reached
    assert reached == set(State)
    assert set(sources_of(State.succeeded)) >= {State.running, State.cancelling}
    assert set(TERMINAL_STATES) == {State.succeeded, State.failed, State.cancelled}
