from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.running import Running, fusion


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One running service for all tests of a process that leave it whole."""
    service = Running(tmp_path_factory.mktemp("up") / "data")
    service.start()
    yield service
    service.stop()
    for process in service.training():
        process.kill()


@pytest.fixture(scope="session")
def undisturbed(up: Running) -> dict[str, str]:
    """The components of a run that nobody disturbs."""
    job_id = up.submit(fusion())
    assert up.wait(job_id)["state"] == "succeeded"
    return up.digests(job_id)
