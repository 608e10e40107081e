"""Which metrics share a chart, and what the server draws of them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.results.metrics.schemas import JobSeries, Latest
from app.web.views import curves
from app.web.views.panels import Line, Panel, comparison_panels, job_panels, series_look

KEYS = [
    "clipped/experts",
    "grad_norm/experts",
    "lr/experts",
    "system/rss_gb",
    "test/accuracy_fused",
    "throughput/images_per_s",
    "train/loss_global",
    "train/loss_total",
    "val/accuracy_ensemble",
    "val/accuracy_ensemble_logits",
    *(f"val/accuracy_expert_{k}" for k in range(11)),
    "val/accuracy_fused",
    "val/accuracy_oracle",
    "custom/<script>",
]


def series(values: list[float | None], *, key: str = "val/accuracy_fused", **more: object) -> JobSeries:
    steps = list(range(10, 10 * len(values) + 10, 10))
    columns = {"counts": None, "min": None, "max": None, "mean": values, "last": values} | more
    return JobSeries(job="a", key=key, steps=steps, times=[float(s) for s in steps], **columns)  # type: ignore[arg-type]


def panel(better: str | None = "max") -> Panel:
    return Panel("accuracy", "Accuracy", better=better, lines=[Line("a", "val/accuracy_fused", "fused", "series-main")])  # type: ignore[arg-type]


def points(path: str) -> list[tuple[int, int]]:
    """The points of a path of one segment."""
    x, y = 0, 0
    found = []
    for move_x, move_y in re.findall(r"(-?\d+) (-?\d+)", path):
        x, y = x + int(move_x), y + int(move_y)
        found.append((x, y))
    return found


def test_only_metrics_between_zero_and_one_are_drawn_as_shares() -> None:
    panels = job_panels("a", ["val/accuracy_fused", "clipped/experts", "lambda", "temperature", "val/collusion"])
    # A weight of 2.0, as in examples/digits/warm_up_pcgrad.yaml, is no share.
    assert {panel.id for panel in panels if panel.is_share} == {"accuracy", "clipped"}


def test_metrics_of_a_kind_share_a_chart_and_results_have_none() -> None:
    panels = {panel.id: panel for panel in job_panels("a", KEYS)}
    assert list(panels)[:2] == ["accuracy", "losses"]
    assert {"rates", "gradient", "clipped", "throughput", "memory", "other-custom"} <= set(panels)
    drawn = [line.key for panel in panels.values() for line in panel.lines]
    # The ensemble has two names for the same values.
    assert sorted([*drawn, "test/accuracy_fused", "val/accuracy_ensemble_logits"]) == sorted(KEYS)


def test_charts_other_than_accuracy_and_losses_are_minor() -> None:
    assert [panel.id for panel in job_panels("a", KEYS) if not panel.is_minor] == ["accuracy", "losses"]
    # Alone they are all that there is to see.
    assert not any(panel.is_minor for panel in job_panels("a", ["lr/experts", "custom/a"]))


def test_experts_have_the_colour_of_their_index_and_fused_that_of_text() -> None:
    looks = {line.label: line.look for line in job_panels("a", KEYS)[0].lines}
    assert looks["fused"] == "series-main"
    assert looks["expert 0"] == "series-0"
    assert looks["expert 10"] == "series-2 dashed"
    assert next(iter(looks)) == "fused"
    assert len(set(looks.values())) == len(looks)


def test_twenty_slots_look_different() -> None:
    assert len({series_look(slot) for slot in range(20)}) == 20


def test_a_comparison_has_a_chart_for_each_metric_with_jobs_in_their_colours() -> None:
    panels = comparison_panels([("a", "one", 0), ("b", "two", 9)], ["val/accuracy_fused", "train/loss_total"])
    assert [(panel.title, panel.better) for panel in panels] == [
        ("val/accuracy_fused", "max"),
        ("train/loss_total", "min"),
    ]
    assert [line.look for line in panels[0].lines] == ["series-0", "series-1 dashed"]


def test_nothing_is_drawn_before_there_are_values() -> None:
    assert curves.draw(panel(), {}) is None
    assert curves.draw(panel(), {("a", "val/accuracy_fused"): series([None, None])}) is None


def test_a_missing_value_interrupts_the_line() -> None:
    drawing = curves.draw(
        panel(), {("a", "val/accuracy_fused"): series([0.1, None, 0.3, 0.2])}, [(20, "attempt 2 from 20")]
    )
    assert drawing is not None
    assert drawing.lines[0].path.count("M") == 2
    assert drawing.marks[0].text == "attempt 2 from 20"
    assert len(drawing.lines[0].dots) == 3


def test_texts_of_marks_are_in_three_rows_where_they_cover_least() -> None:
    marks = [(20 + k, f"attempt {k} from {20 + k}") for k in range(5)]
    key = ("a", "val/accuracy_fused")
    high, low = {key: series([0.1, 0.9, 0.9, 0.9])}, {key: series([0.9, 0.1, 0.1, 0.1])}
    rising, falling = curves.draw(panel(), high, marks), curves.draw(panel(), low, marks)
    assert rising
    assert falling
    assert [mark.y for mark in falling.marks] == [8, 22, 36, None, None]
    assert [mark.y for mark in rising.marks] == [176, 162, 148, None, None]
    # One far enough away begins again with the first row.
    apart = curves.draw(panel(), low, [(10, "ab"), (11, "c"), (39, "d")])
    assert apart
    assert [mark.y for mark in apart.marks] == [8, 22, 8]


def test_the_band_reaches_from_the_minimum_to_the_maximum() -> None:
    data = series([0.5] * 3, counts=[5] * 3, min=[0.1, 0.0, 0.2], max=[0.9, 1.0, 0.8])
    drawing = curves.draw(panel(), {("a", "val/accuracy_fused"): data})
    assert drawing is not None
    # Two buckets share an edge, which has the extremes of both.
    assert points(drawing.lines[0].band) == [(0, 0), (500, 0), (1000, 200), (1000, 800), (500, 1000), (0, 1000)]
    assert not drawing.lines[0].dots


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_the_axis_of_a_constant_share_is_from_0_to_1(value: float) -> None:
    share = Panel("clipped", "Clipped", is_share=True, lines=panel().lines)
    drawing = curves.draw(share, {("a", "val/accuracy_fused"): series([value] * 3)})
    assert drawing is not None
    assert [tick.text for tick in drawing.y_ticks] == ["0", "0.25", "0.5", "0.75", "1"]


def test_an_axis_without_negative_values_does_not_begin_below_0() -> None:
    drawing = curves.draw(panel(), {("a", "val/accuracy_fused"): series([0.0] * 3)})
    assert drawing is not None
    assert drawing.y_ticks[0].text == "0"


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=30))
@example([0.0, 5e-324])
@example([1e-322])
def test_every_finite_series_stays_inside_the_chart(values: list[float]) -> None:
    drawing = curves.draw(panel(), {("a", "val/accuracy_fused"): series(list(values))})
    assert drawing is not None
    assert all(0 <= number <= 1000 for point in points(drawing.lines[0].path) for number in point)
    assert 2 <= len(drawing.y_ticks) <= 12


@given(st.lists(st.one_of(st.none(), st.floats(0, 1000)), max_size=40))
def test_labels_do_not_overlap(ends: list[float | None]) -> None:
    placed = sorted(place for place in curves.spread_labels(ends) if place is not None)
    assert len(placed) == min(curves.MAX_LABELS, sum(end is not None for end in ends))
    assert all(after - before >= curves.LABEL_HEIGHT - 1 for before, after in pairwise(placed))
    assert all(0 <= place <= curves.HEIGHT for place in placed)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12_000, "12k"), (1e-5, "1e-5"), (0.25, "0.25"), (2.5e7, "2.5e7")]
)
def test_numbers_of_axes_are_short(value: float, text: str) -> None:
    assert curves.short_number(value) == text


def test_the_best_is_marked_and_the_oracle_is_not_it() -> None:
    lines = [Line("a", f"val/accuracy_{name}", name, "series-0") for name in ("fused", "expert_0", "oracle")]
    latest = {
        ("a", line.key): Latest(step=9, value=best, min=0.0, max=best, best_step=5, count=3)
        for line, best in zip(lines, (0.8, 0.7, 0.99), strict=True)
    }
    rows = curves.value_rows(Panel("accuracy", "Accuracy", better="max", lines=lines), latest)
    assert [row.is_best for row in rows] == [True, False, False]
    assert rows[0].best_step == 5
