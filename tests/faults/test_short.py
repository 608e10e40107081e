"""The quick faults, once each: `make faults` runs all of them with many seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.servers import missing_programs
from tests.faults.service import Service
from tests.faults.stack import Form
from tests.faults.table import FAULTS

SEED = 1
# One form after the other, so that each is started once.
QUICK = sorted((name for name, fault in FAULTS.items() if fault.is_quick), key=lambda name: FAULTS[name].form)


@pytest.fixture(scope="module")
def services() -> Iterator[dict[Form, Service]]:
    """A service of each form, started when it is first needed."""
    made = {form: Service(form) for form in Form}
    yield made
    for service in made.values():
        service.__exit__()


@pytest.mark.parametrize("name", QUICK)
def test_every_promise_holds_after_a_fault(name: str, services: dict[Form, Service]) -> None:
    fault = FAULTS[name]
    if fault.form is not Form.embedded and (missing := missing_programs()):
        pytest.skip(f"not here: {', '.join(missing)}")
    service = services[fault.form]
    if why := fault.lacks(service.stack):
        pytest.skip(why)
    outcome, folder = service.round(fault, f"{name}-{SEED}")
    assert not outcome.problems, f"seed {name}-{SEED}, what happened is in {folder}"
