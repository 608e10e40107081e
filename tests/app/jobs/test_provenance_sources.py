"""The certificate names the components that a job started from, and what is not certain about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.db import transaction
from app.models import Component, State
from core.run.durable import write_manifest
from core.run.environment import Environment
from core.run.rundir import RunDir
from tests.app.api import EXPERT, Service
from tests.app.jobs.test_provenance import HERE, OTHER, certificate, report

SHA256, IDENTITY = "a" * 64, "b" * 64


def finished(service: Service, spec: dict[str, Any], *attempts: tuple[int, Environment]) -> str:
    """A job that has succeeded with one component."""
    job_id = service.submit(spec)
    report(service, job_id, *attempts)
    service.transition(job_id, State.succeeded)
    save(service, job_id)
    return job_id


def save(service: Service, job_id: str, sha256: str = SHA256) -> None:
    folder = RunDir(service.settings.runs_dir / job_id).components
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"name": "expert_0", "epoch": 1, "content_sha256": sha256, "identity": IDENTITY}
    write_manifest(folder / "expert_0.json", manifest)
    with transaction(service.app.state.engine) as session:
        session.merge(
            Component(
                id=f"cmp_{job_id[4:]}", job_id=job_id, name="expert_0", role="expert", epoch=1, metrics={},
                selected_by="accuracy_expert_0", config={}, files={},
            )
        )  # fmt: skip


def from_component(job_id: str, *, by_id: bool = False) -> dict[str, Any]:
    reference = {"component": f"cmp_{job_id[4:]}"} if by_id else {"job": job_id, "component": "expert_0"}
    return EXPERT | {"expert": {"from": reference}}


def began_with(service: Service, job_id: str, sha256: str = SHA256) -> None:
    """Records, as an attempt does, what it read."""
    RunDir(service.settings.runs_dir / job_id).sources.write_text(json.dumps({"expert": sha256}))


@pytest.mark.parametrize("by_id", [False, True])
def test_a_source_is_named_with_its_identity_and_its_job(service: Service, by_id: bool) -> None:
    source = finished(service, EXPERT, (0, HERE))
    job_id = finished(service, from_component(source, by_id=by_id), (0, HERE))
    assert certificate(service, job_id)["sources"] == []
    began_with(service, job_id)
    content = certificate(service, job_id)
    expected = {"field": "expert", "content_sha256": SHA256, "identity": IDENTITY, "job": source}
    assert content["sources"] == [expected]
    assert content["bit_exact"] is True
    assert not any("started from" in sentence for sentence in content["known"])
    # Of another version of the component nothing is known.
    save(service, source, "c" * 64)
    assert certificate(service, job_id)["sources"] == [expected | {"identity": None}]


def test_a_source_that_is_not_bit_exact_is_named_however_far_it_is(service: Service) -> None:
    first = finished(service, EXPERT, (0, HERE), (40, OTHER))
    second = finished(service, from_component(first), (0, HERE))
    third = finished(service, from_component(second), (0, HERE))
    expected = f"It started from a component of {first}, which is not certified bit-exact itself"
    for job_id in (second, third):
        assert certificate(service, job_id)["known"][-1] == expected
