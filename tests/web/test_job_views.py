"""The parts of a job's page as data: picture, timeline, evaluation, specification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from app.jobs.ledger import compute
from app.jobs.report_schemas import Ledger, LedgerTotals
from app.models import Attempt, Event, Job
from app.web.views import picture
from app.web.views.evaluation import evaluation
from app.web.views.spec_lines import spec_lines
from app.web.views.timeline import Timeline, timeline
from core.spec import defaulted, parse_spec, resolve
from core.spec.outline import outline
from tests.app.api import EXPERT, FUSION

START = datetime(2030, 1, 1, tzinfo=UTC)
MIXED = {
    "kind": "fusion",
    "experts": [{"arch": "convnet_small"}, {"arch": "convnet_small", "feature_dim": 32}],
    "fusion": {"type": "multiplicativeAddition"},
    "dataset": {"name": "digits"},
    "training": {"components": {"experts": {"frozen": True}}},
}


def model(data: dict[str, Any], **metrics: float) -> picture.Model:
    spec = resolve(parse_spec(data))
    values = {key.replace("__", "/"): value for key, value in metrics.items()}
    return picture.describe_model(spec, outline(spec).model_dump(), values)


def test_the_picture_shows_what_the_model_is_made_of() -> None:
    drawn = model(MIXED, test__accuracy_expert_0=0.9, test__accuracy_expert_0_before=0.5, test__accuracy_fused=0.95)
    first, second = drawn.experts
    assert (first.dim, first.has_adapter, second.dim, second.has_adapter) == (64, False, 32, True)
    assert (first.is_frozen, first.before, first.after) == (True, 0.5, 0.9)
    assert drawn.fusion is not None
    assert drawn.head is not None
    assert drawn.fusion.detail == "∏ nₖ + Σ softmax(w)ₖ nₖ, MLP"
    assert (drawn.head.detail, drawn.head.after) == ("64 → 10", 0.95)
    shown = picture.draw(drawn)
    assert [box.facts.name for box in shown.boxes] == ["expert_0", "expert_1", "fusion", "head"]
    assert len(shown.adapters) == 1
    assert all(box.x + box.width <= shown.width and box.y + box.height <= shown.height for box in shown.boxes)


@pytest.mark.parametrize(("count", "boxes", "more"), [(8, 8, 0), (9, 7, 2), (64, 7, 57)])
def test_the_picture_of_many_experts_says_how_many_more_there_are(count: int, boxes: int, more: int) -> None:
    shown = picture.draw(model(FUSION | {"num_experts": count, "dataset": {"name": "digits"}}))
    assert (len(shown.boxes) - 2, shown.more) == (boxes, more)


def test_the_longest_contribution_bar_is_that_of_the_most_useful_expert() -> None:
    drawn = picture.draw(model(MIXED, test__contribution_expert_0=-0.05, test__contribution_expert_1=0.1))
    assert [box.bar for box in drawn.boxes[:2]] == [picture.BAR_WIDTH / 2, picture.BAR_WIDTH]
    assert [box.facts.contribution for box in drawn.boxes[:2]] == [-0.05, 0.1]


def test_an_expert_job_is_one_box_and_a_timm_backbone_is_known_at_start() -> None:
    drawn = model({"kind": "expert", "expert": {"arch": "timm:resnet10t"}, "dataset": {"name": "digits"}})
    assert (drawn.experts[0].dim, drawn.fusion) == (None, None)
    assert len(picture.draw(drawn).boxes) == 1


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def state(at: float, name: str) -> Event:
    return Event(job_id="job_1", time=minute(at), type="state", data={"state": name, "reason": None})


def drawn_timeline(states: list[Event], attempts: list[Attempt], end: float, *rungs: Event) -> Timeline:
    spec = resolve(parse_spec(EXPERT)).model_dump(mode="json", by_alias=True)
    job = Job(id="job_1", kind="expert", name="", owner="a", state="succeeded", spec=spec, defaulted=[])
    account = compute(job, attempts, states, minute(end))
    result = timeline(states, list(rungs), attempts, account, minute(end))
    assert result is not None
    return result


def attempt(number: int, start: float, end: float, steps: tuple[int, int], outcome: str) -> Attempt:
    return Attempt(
        job_id="job_1", number=number, executor="local", host="here", devices=["0"], started_at=minute(start),
        ended_at=minute(end), resumed_from_step=steps[0], last_step=steps[1], outcome=outcome,
    )  # fmt: skip


def test_the_timeline_cuts_long_waits_and_hatches_steps_that_were_done_again() -> None:
    states = [
        state(0, "queued"), state(1, "starting"), state(2, "running"), state(12, "queued"),
        state(612, "starting"), state(613, "running"), state(623, "succeeded"),
    ]  # fmt: skip
    attempts = [attempt(1, 1, 12, (0, 100), "queued"), attempt(2, 612, 623, (60, 200), "succeeded")]
    rung = Event(job_id="job_1", time=minute(618), type="rung", data={"rung": 3, "kept": True})
    shown = drawn_timeline(states, attempts, 700, rung)
    assert [row.number for row in shown.rows] == [1, 2]
    assert [(gap.label, gap.width) for gap in shown.breaks] == [("10 h cut", 18.0)]
    assert shown.breaks[0].y == shown.rows[1].y
    assert shown.labels_fit
    [redone] = shown.rows[0].redone
    running = next(bar for bar in shown.rows[0].bars if bar.kind == "running")
    assert redone.width == pytest.approx(running.width * 0.4, abs=0.01)
    last = shown.rows[1].bars[-1]
    assert last.x + last.width == pytest.approx(100, abs=0.01)
    assert last.x < shown.marks[0].x < 100
    assert shown.marks[0].title == "early stopping after epoch 3: continues"
    assert shown.kinds == ["queued", "starting", "running", "redone"]


def test_a_job_that_has_not_run_has_one_bar_and_no_break() -> None:
    shown = drawn_timeline([state(0, "waiting")], [], 600)
    assert (shown.breaks, [(row.number, len(row.bars)) for row in shown.rows]) == ([], [(None, 1)])
    assert shown.rows[0].bars[0].width == 100
    totals = LedgerTotals(useful=0, redone=0, silent=0, waiting=0, unknown=0)
    empty = Ledger(attempts=[], by_cause={}, totals=totals, useful_share=None)
    assert timeline([], [], [], empty, START) is None


def test_the_timeline_of_many_attempts_shows_the_latest() -> None:
    states = [state(0, "queued")]
    attempts = []
    for k in range(20):
        states += [state(3 * k + 1, "starting"), state(3 * k + 2, "running"), state(3 * k + 3, "queued")]
        attempts.append(attempt(k + 1, 3 * k + 1, 3 * k + 3, (0, 5), "queued"))
    shown = drawn_timeline(states, attempts, 70)
    assert (shown.hidden, [row.number for row in shown.rows][-2:]) == (9, [20, None])
    assert min(row.y for row in shown.rows) >= 0


def test_the_evaluation_says_what_is_left_on_the_table() -> None:
    metrics = {
        "test/accuracy_fused": 0.9, "test/accuracy_oracle": 0.931, "test/accuracy_expert_0": 0.6,
        "test/accuracy_expert_1": 0.8, "test/accuracy_expert_1_before": 0.5, "test/contribution_expert_1": 0.1,
    }  # fmt: skip
    result = {
        "metrics": metrics,
        "absent": {"test/accuracy_ensemble": "why", "test/nll": "why"},
        "pairwise_disagreement": [[0.0, 0.4], [0.4, 0.0]],
        "winning_share_by_class": [[0.75, None], [0.25, None]],
        "warnings": ["expert_1 is dead"],
        "predictions": {"test": {"file": "predictions/test.npz"}, "val": {"absent": "too large"}},
    }
    shown = evaluation({}, result)
    assert shown is not None
    assert [(path.key, path.is_best) for path in shown.paths] == [
        ("fused", True), ("best_expert", False), ("oracle", False),
    ]  # fmt: skip
    assert shown.oracle_gap == pytest.approx(0.031)
    assert shown.gain == pytest.approx(0.1)
    assert shown.experts[1].change == pytest.approx(0.3)
    assert shown.experts[0].change is None
    assert shown.experts[1].contribution == pytest.approx(0.1)
    assert shown.columns == ["before", "after", "change", "contribution"]
    assert shown.subsets == []
    assert shown.absent == [("why", ["accuracy_ensemble", "nll"])]
    assert shown.disagreement[0] == [(0.0, 0), (0.4, 5)]
    assert shown.winning_shares == [[(0.75, 5), (None, 0)], [(0.25, 2), (None, 0)]]
    assert shown.warnings == ["expert_1 is dead"]
    assert shown.predictions == ["test"]


def test_the_evaluation_says_what_experts_are_worth_and_which_to_keep() -> None:
    metrics = {
        "test/accuracy_fused": 0.9, "test/accuracy_expert_0": 0.6, "test/accuracy_expert_1": 0.8,
        "test/accuracy_without_expert_0": 0.85, "test/accuracy_without_expert_1": 0.5,
        "test/shapley_expert_0": 0.2, "test/shapley_expert_1": 0.6,
    }  # fmt: skip
    subsets = {"none": 0.1, "0": 0.5, "1": 0.85, "2": 0.85, "0,1": 0.9}
    shown = evaluation({}, {"metrics": metrics, "subsets": subsets})
    assert shown is not None
    assert [row.leave_one_out for row in shown.experts] == pytest.approx([0.05, 0.4])
    assert [row.shapley for row in shown.experts] == [0.2, 0.6]
    assert shown.columns == ["after", "leave_one_out", "shapley"]
    assert shown.subsets == [(2, "0, 1", 0.9), (1, "1", 0.85), (0, "none", 0.1)]
    damaged = evaluation({}, {"metrics": metrics, "subsets": "damaged"})
    assert damaged is not None
    assert damaged.subsets == []


def test_before_the_result_the_evaluation_is_that_on_validation() -> None:
    assert evaluation({"train/loss_total": 1.0}, None) is None
    shown = evaluation({"val/accuracy_expert_0": 0.5, "val/accuracy_fused": None}, None)
    assert shown is not None
    assert (shown.dataset, shown.paths[0].label, shown.oracle_gap) == ("val", "Expert", None)
    # A table of one accuracy would repeat the bar.
    assert shown.columns == []
    assert evaluation({}, {"metrics": "damaged"}) is None


@pytest.mark.parametrize("data", [EXPERT, MIXED, FUSION | {"name": "yes: [no] #"}])
def test_the_lines_of_a_specification_are_yaml(data: dict[str, Any]) -> None:
    given = parse_spec(data)
    spec = resolve(given).model_dump(mode="json", by_alias=True)
    lines = spec_lines(spec, defaulted(given))
    assert yaml.safe_load("\n".join(line.text for line in lines)) == spec
    short = yaml.safe_load("\n".join(line.text for line in spec_lines(spec, defaulted(given), given_only=True)))
    assert resolve(parse_spec(short)) == resolve(given)


@pytest.mark.parametrize(
    "damage",
    [
        {"predictions": {"test": None}},
        {"absent": [1]},
        {"winning_share_by_class": [1]},
        {"warnings": 3},
        {"pairwise_disagreement": "x"},
        {"subsets": 4},
    ],
    ids=str,
)
def test_a_damaged_result_shows_what_is_left(damage: dict[str, Any]) -> None:
    assert evaluation({}, {"metrics": {"test/accuracy_fused": 0.5}, **damage}) is not None
