"""Whether machines are large enough for a job, and the message if they are not."""

from __future__ import annotations

import pytest

from app.jobs.capacity import Capacity, shortfall


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 2}, "requests 2 GPUs, but the machines of this service have at most 1: change resources.gpus"),
        ({"cpus": 9}, "requests 9 threads, but the machines of this service have at most 8: change resources.cpus"),
        # 15.6 GiB are not 16, although they round to it.
        ({"memory_gb": 16}, "requests 16 GiB of memory, but the machines of this service have at most 15"),
        ({"gpus": 1, "cpus": 8}, "no machine of this service has everything"),
    ],
)
def test_a_shortfall_names_the_field_to_change(changes: dict[str, int], message: str) -> None:
    machines = [Capacity(("0",), 4, 15.6), Capacity(("cpu",), 8, 8.0)]
    resources = {"gpus": None, "cpus": 2, "memory_gb": None} | changes
    assert not any(machine.fits(resources) for machine in machines)
    assert message in shortfall(resources, machines)
