"""What the first sentence of a report compares the fused path with."""

from __future__ import annotations

import pytest

from app.models import State
from tests.app.api import Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import add_control, arrays, fusion_job, report, trained_control
from tests.app.results.report.test_single_networks import single


@pytest.mark.parametrize("paths", [{"expert_0": 10}, {"expert_0": 60, "expert_1": 10}])
def test_the_verdict_is_never_better_than_against_the_best_expert(service: Service, paths: dict[str, int]) -> None:
    job_id = with_predictions(service, "pair", {"test": arrays(fused=40, **paths)})
    trained_control(service, job_id, "single_0", 80)
    content = report(service, job_id)
    best = f"best expert alone (expert {len(paths) - 1})"
    assert content["best_control"] == best
    assert content["verdict"].startswith(f"Fused minus best control ({best}): -15.0 points")
    assert "The best control is chosen on the same test images, which favours it." in content["notes"]


@pytest.mark.parametrize("num_deleted", [1, 2])
def test_deleting_controls_leaves_a_trace_in_verdict_and_table(service: Service, num_deleted: int) -> None:
    job_id = fusion_job(service)
    ids = [single(service, job_id, k, 4 + k) for k in range(2)]
    before = report(service, job_id)
    assert before["verdict"].startswith("Fused minus best control (one network on all the data): -3.0 points")
    assert before["missing_controls"] == []
    for other in ids[:num_deleted]:
        assert service.call("DELETE", f"/jobs/{other}").status_code == 200
    content = report(service, job_id)
    assert content["verdict"].startswith("Fused minus best control of those measured (")
    ensemble = "deep ensemble of 2 networks, each on all the data"
    assert ensemble in content["missing_controls"]
    [row] = [row for row in content["controls"] if row["label"] == ensemble]
    deleted = "its job has been deleted (submit this job again with controls: true to train it again)"
    assert row["absent"] == f"one of its networks is missing: {deleted}"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), "is queued"),
        ((State.starting, State.failed), "is failed (`mcn retry {job}` trains it again)"),
        ((State.cancelled,), "is cancelled (`mcn retry {job}` trains it again)"),
    ],
)
def test_a_control_that_has_not_succeeded_may_be_the_best_one(
    service: Service, states: tuple[State, ...], expected: str
) -> None:
    job_id = fusion_job(service)
    other = service.submit()
    service.transition(other, *states)
    add_control(service, job_id, "matched", other)
    content = report(service, job_id)
    assert content["verdict"].startswith("Fused minus best control of those measured (")
    assert content["missing_controls"] == ["one network of as many parameters"]
    assert content["controls"][-1]["absent"] == f"{other} {expected.format(job=other)}"


def test_a_control_that_there_cannot_be_is_not_missing(service: Service) -> None:
    job_id = fusion_job(service)
    add_control(service, job_id, "matched", None, "densenet121 cannot be made wider")
    content = report(service, job_id)
    assert content["verdict"].startswith("Fused minus best control (")
    assert content["missing_controls"] == []
