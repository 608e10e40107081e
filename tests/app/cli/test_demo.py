"""The demo's specifications, its table and its verdict."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from app.cli.demo import CONTROL, FROZEN, JOINT, _print_report, expert_spec, fusion_spec, submit_jobs
from app.cli.demo_report import Report, verdict
from app.cli.terminal import SafeConsole
from core.spec import parse_spec
from tests.app.api import Service
from tests.app.results.predictions.trained import with_predictions
from tests.app.results.report.test_report import arrays

EXPERT_IDS = [f"job_{k}" for k in range(4)]


def metrics(fused: float, *experts: float, ensemble: float | None = None) -> dict[str, float | None]:
    values: dict[str, float | None] = {"test/accuracy_fused": fused}
    for k, accuracy in enumerate(experts):
        values |= {f"test/accuracy_expert_{k}": accuracy, f"test/accuracy_expert_{k}_before": 0.2}
    return values | ({} if ensemble is None else {"test/accuracy_ensemble_probabilities": ensemble})


def difference(value: float, *, margin: float = 0.02) -> dict[str, Any]:
    """As `GET /compare` has it: a minus b, with an interval of this half width."""
    clear = abs(value) > margin
    p = 0.001 if clear else 0.4
    return {"value": value, "low": value - margin, "high": value + margin, "excludes_zero": clear, "p": p}


def report(
    frozen: float,
    control: float,
    joint: float,
    *,
    ensembles: tuple[float | None, float | None],
    compared: list[tuple[str, str]] | None = None,
) -> Report:
    accuracies = {
        "single:expert_0": 0.986,
        "frozen:fused": frozen,
        "frozen:expert_1": 0.31,
        "frozen:ensemble_probabilities": ensembles[0] or 0.0,
        "control:fused": control,
        "joint:fused": joint,
        "joint:expert_1": 0.97,
        "joint:ensemble_probabilities": ensembles[1] or 0.0,
    }

    def compare(a: str, b: str) -> dict[str, Any]:
        if compared is not None:
            compared.append((a, b))
        return difference(accuracies[a] - accuracies[b])

    return Report(
        single={"test/accuracy_expert_0": 0.986},
        frozen=metrics(frozen, 0.21, 0.31, ensemble=ensembles[0]),
        control=metrics(control, 0.31),
        joint=metrics(joint, 0.96, 0.97, ensemble=ensembles[1]),
        num_experts=2,
        control_expert=1,
        ids={name: name for name in ("single", "frozen", "control", "joint")},
        compare=compare,
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "fusion brought +5.0 points over the MLP (95 % interval +3.0 to +7.0, p = 0.001)"),
        (-0.1, "fusion lost 10.0 points against the MLP (95 % interval -12.0 to -8.0, p = 0.001)"),
        (0.01, "fusion brought nothing measurable (+1.0 points against the MLP, 95 % interval -1.0 to +3.0, p = 0.4)"),
    ],
)
def test_the_verdict_is_that_of_the_paired_comparison(value: float, text: str) -> None:
    assert verdict(difference(value), "the MLP") == text


def test_an_interval_without_zero_is_not_enough_if_the_exact_test_does_not_agree() -> None:
    assert "nothing measurable" in verdict(difference(0.03) | {"p": 0.06}, "it")


def test_the_summary_compares_each_phase_with_its_best_control_on_the_same_images() -> None:
    compared: list[tuple[str, str]] = []
    summary = report(0.949, 0.899, 0.978, ensembles=(0.675, 0.978), compared=compared).summary()
    assert summary.splitlines() == [
        "With frozen experts, the fused model reached 0.949; the best expert alone 0.310, the ensemble 0.675 and "
        "expert 1 with its own MLP 0.899: fusion brought +5.0 points over expert 1 with its own MLP (95 % interval "
        "+3.0 to +7.0, p = 0.001).",
        "After joint training, the fused model reached 0.978; the best expert alone 0.970 and the ensemble 0.978: "
        "fusion brought nothing measurable (0.0 points against the ensemble, 95 % interval -2.0 to +2.0, p = 0.4).",
        "One network on all the data reached 0.986: with frozen experts fusion lost 3.7 points against it (95 % "
        "interval -5.7 to -1.7, p = 0.001); after joint training fusion brought nothing measurable (-0.8 points "
        "against it, 95 % interval -2.8 to +1.2, p = 0.4).",
    ]
    assert sorted(compared) == [
        ("frozen:fused", "control:fused"),
        ("frozen:fused", "single:expert_0"),
        ("joint:fused", "joint:ensemble_probabilities"),
        ("joint:fused", "single:expert_0"),
    ]


def test_the_conclusion_follows_the_numbers() -> None:
    summary = report(0.60, 0.90, 0.985, ensembles=(0.95, 0.90)).summary()
    assert "fusion lost 35.0 points against the ensemble" in summary
    assert "fusion brought nothing measurable (+1.5 points against the best expert alone" in summary


def test_the_service_makes_the_comparisons_that_the_demo_needs(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    experts = {f"expert_{k}": 60 + k for k in range(4)}
    wrong = {"frozen": {"fused": 20} | experts, "control": {"fused": 40}, "joint": {"fused": 4} | experts}
    figures = {path: 1 - count / 200 for path, count in experts.items()}
    jobs = []
    for name, paths in ({"single": {"expert_0": 2}} | wrong).items():
        kind = "expert" if name == "single" else "fusion"
        job_id = with_predictions(service, name, {"test": arrays(**paths)}, kind=kind)
        accuracies = figures | {path: 1 - count / 200 for path, count in paths.items()}
        values = {f"test/accuracy_{path}": value for path, value in accuracies.items()}
        jobs.append({"id": job_id, "metrics": values})

    class Connection:
        def get(self, path: str, **params: Any) -> Any:
            answer = service.get(path, params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()

    _print_report(Connection(), *jobs)  # type: ignore[arg-type]
    summary = " ".join(capsys.readouterr().out.split())
    assert "fusion brought +10.0 points over expert 3 with its own MLP (95 % interval +" in summary
    assert "with frozen experts fusion lost 9.0 points against it (95 % interval -" in summary
    assert "after joint training fusion brought nothing measurable (-1.0 points against it" in summary


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
