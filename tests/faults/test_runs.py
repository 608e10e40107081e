"""Short forms of the long runs of `make faults`: stopped workers, outages while a job trains, and the soak."""

from __future__ import annotations

import pytest

from tests.faults.freezes import WAIT_LIMIT_S, measure
from tests.faults.outages import outages
from tests.faults.servers import missing_programs
from tests.faults.soak import soak
from tests.faults.stack import Form, Stack

pytestmark = pytest.mark.slow
SEED = 1
OUTAGE_S = 4.0


@pytest.fixture(autouse=True)
def _programs() -> None:
    if missing := missing_programs():
        pytest.skip(f"not here: {', '.join(missing)}")


def test_no_request_waits_for_a_worker_that_is_stopped_or_cut_off() -> None:
    with Stack(Form.worker_cut_off) as stack:
        found = measure(stack, SEED, stops=3, cuts=1, aimed=1, control_s=5.0, say=print)
    # What requests wait without any fault is the machine's doing.
    limit_s = WAIT_LIMIT_S + found.control.longest_s
    assert not list(found.problems(limit_s))
    assert any(case.with_events for case in found.cases), "no worker was stopped while it held the lock of events"


def test_training_does_not_notice_outages_of_the_api_the_broker_or_the_database() -> None:
    with Stack(Form.production) as stack:
        found = outages(stack, OUTAGE_S, print)
    assert [outage.part for outage in found] == ["api", "Redis", "PostgreSQL"]


def test_all_jobs_end_once_although_parts_are_killed_all_the_time() -> None:
    with Stack(Form.production) as stack:
        found, _ = soak(stack, SEED, jobs=5, length_s=20.0, every_s=5.0, say=print)
    assert not found.problems
    assert found.kills
