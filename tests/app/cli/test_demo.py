"""The demo's specifications, its table and its verdict."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from app.cli.demo import CONTROL, FROZEN, JOINT, expert_spec, fusion_spec, submit_jobs
from app.cli.demo_report import Report, verdict
from app.cli.terminal import SafeConsole
from core.spec import parse_spec
from tests.app.api import Service

EXPERT_IDS = [f"job_{k}" for k in range(4)]


def metrics(fused: float, *experts: float, ensemble: float | None = None) -> dict[str, float | None]:
    values: dict[str, float | None] = {"test/accuracy_fused": fused}
    for k, accuracy in enumerate(experts):
        values |= {f"test/accuracy_expert_{k}": accuracy, f"test/accuracy_expert_{k}_before": 0.2}
    return values | ({} if ensemble is None else {"test/accuracy_ensemble_probabilities": ensemble})


def report(frozen: float, control: float, joint: float, *, ensembles: tuple[float | None, float | None]) -> Report:
    return Report(
        single={"test/accuracy_expert_0": 0.986},
        frozen=metrics(frozen, 0.21, 0.31, ensemble=ensembles[0]),
        control=metrics(control, 0.31),
        joint=metrics(joint, 0.96, 0.97, ensemble=ensembles[1]),
        num_experts=2,
        control_expert=1,
        num_images=360,
    )


def test_a_gain_beyond_the_noise_is_what_fusion_brought() -> None:
    assert verdict(0.949, 0.899, "the MLP", 360) == "fusion brought +0.050 over the MLP"


def test_a_loss_beyond_the_noise_is_reported_as_a_loss() -> None:
    assert verdict(0.80, 0.90, "the ensemble", 360) == "fusion lost 0.100 against the ensemble"


@pytest.mark.parametrize("fused", [0.978, 0.99, 0.966])
def test_a_difference_within_the_noise_is_not_measurable(fused: float) -> None:
    said = verdict(fused, 0.978, "the ensemble", 360)
    assert said.startswith(f"fusion brought nothing measurable (difference {fused - 0.978:+.3f} to the ensemble")
    assert said.endswith("n = 360 images)")


def test_more_images_make_a_smaller_difference_measurable() -> None:
    assert "nothing measurable" in verdict(0.93, 0.90, "it", 360)
    assert verdict(0.93, 0.90, "it", 3600) == "fusion brought +0.030 over it"


def test_the_summary_compares_each_phase_with_its_best_control() -> None:
    said = report(0.949, 0.899, 0.978, ensembles=(0.675, 0.978)).summary()
    assert said == (
        "With frozen experts, the fused model reached 0.949; the best expert alone 0.310, the ensemble 0.675 and "
        "expert 1 with its own MLP 0.899: fusion brought +0.050 over expert 1 with its own MLP. "
        "After joint training, the fused model reached 0.978; the best expert alone 0.970 and the ensemble 0.978: "
        "fusion brought nothing measurable (difference +0.000 to the ensemble, within ±0.021 of noise, n = 360 "
        "images). "
        "One network on all the data reached 0.986: with frozen experts fusion lost 0.037 against it; after joint "
        "training fusion brought nothing measurable (difference -0.008 to it, within ±0.019 of noise, n = 360 images)."
    )


def test_the_conclusion_follows_the_numbers() -> None:
    said = report(0.60, 0.90, 0.99, ensembles=(0.95, 0.90)).summary()
    assert "fusion lost 0.350 against the ensemble" in said
    assert "fusion brought nothing measurable (difference +0.020 to the best expert alone" in said


def test_an_ensemble_that_was_not_measured_is_not_compared() -> None:
    result = report(0.949, 0.899, 0.978, ensembles=(None, None))
    assert "the ensemble" not in result.summary()
    console = SafeConsole(file=StringIO(), width=120)
    console.print(result.table())
    assert "not measured" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_has_every_expert_both_phases_and_every_control() -> None:
    console = SafeConsole(file=StringIO(), width=80)
    console.print(report(0.949, 0.899, 0.978, ensembles=(0.675, 0.977)).table())
    rows = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        if line.startswith("│")
    ]
    assert ["expert 1", "0.200", "0.310", "0.970"] in rows
    assert ["ensemble (mean probabilities)", "", "0.675", "0.977"] in rows
    assert ["expert 1 with its own MLP", "", "0.899", ""] in rows
    assert ["one network on all the data", "", "0.986", "0.986"] in rows
    assert rows[-1] == ["fused", "", "0.949", "0.978"]


def test_the_examples_are_the_two_phases_and_a_control_that_differs_in_its_experts_only() -> None:
    frozen, control, joint = (fusion_spec(file, EXPERT_IDS) for file in (FROZEN, CONTROL, JOINT))
    assert frozen["training"] == control["training"]
    assert frozen["fusion"] == control["fusion"]
    assert frozen["dataset"] == control["dataset"] == joint["dataset"]
    assert [len(spec["experts"]) for spec in (frozen, control, joint)] == [4, 1, 4]
    assert frozen["training"]["components"]["experts"] == {"frozen": True}
    assert "frozen" not in joint["training"]["components"]["experts"]
    assert joint["experts"][2] == {"from": {"job": "job_2", "component": "expert_0"}}


def test_the_demo_submits_valid_jobs_that_wait_for_the_experts(service: Service) -> None:
    class Connection:
        def post(self, path: str, body: Any) -> Any:
            answer = service.post(path, body)
            assert answer.status_code == 201, answer.text
            return answer.json()

    ids = submit_jobs(Connection())  # type: ignore[arg-type]
    jobs = [service.get(f"/jobs/{job_id}").json() for job_id in ids]
    assert [job["kind"] for job in jobs] == ["expert"] * 5 + ["fusion"] * 3
    assert [sorted(job["waits_for"]) for job in jobs] == [[]] * 5 + [ids[:4], [ids[3]], ids[:4]]
    assert all(job["tags"] == ["demo"] for job in jobs)
    assert [parse_spec(expert_spec(k)).dataset.split.regime for k in range(4)] == ["class_shards"] * 4
