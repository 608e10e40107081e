"""What the first sentence of a report compares the fused path with."""

from __future__ import annotations

import pytest

from tests.app.api import Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import arrays, report, trained_control


@pytest.mark.parametrize("paths", [{"expert_0": 10}, {"expert_0": 60, "expert_1": 10}])
def test_the_verdict_is_never_better_than_against_the_best_expert(service: Service, paths: dict[str, int]) -> None:
    job_id = with_predictions(service, "pair", {"test": arrays(fused=40, **paths)})
    trained_control(service, job_id, "single_0", 80)
    content = report(service, job_id)
    best = f"best expert alone (expert {len(paths) - 1})"
    assert content["best_control"] == best
    assert content["verdict"].startswith(f"Fused minus best control ({best}): -15.0 points")
    assert "The best control is chosen on the same test images, which favours it." in content["notes"]
