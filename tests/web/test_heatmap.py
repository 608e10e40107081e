"""The pure parts of the pages of sweeps: layout, heat map, parallel coordinates, bars."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from app.http.errors import Invalid
from app.models import State
from app.sweeps.schemas import LeaderboardRow, PointView
from app.web.render import STATIC
from app.web.views import heatmap
from app.web.views.heatmap import heat_map
from app.web.views.parallel import MAX_LINES, parallel
from app.web.views.selection import compare_url
from app.web.views.sweep_fields import Layout, address_value, layout, short_names

GRID: dict[str, list[Any]] = {"a": [1, 2], "b": ["x", "y", "z"], "training.seed": [1, 2], "c.d": [{"k": 1}, {"k": 2}]}


def point(number: int, values: dict[str, Any], value: float | None, state: State = State.succeeded) -> PointView:
    return PointView(
        number=number, values=values, job=f"job_{number}", state=state, reused=False, stopped_early=False, value=value
    )


def points(grid: dict[str, list[Any]], values: list[float | None]) -> list[PointView]:
    combinations = [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*grid.values())]
    return [point(n, at, value) for n, (at, value) in enumerate(zip(combinations, values, strict=True))]


def test_the_layout_follows_from_the_grid_and_the_best_point() -> None:
    assert layout(GRID, None, None, {}, {"c.d": {"k": 2}}) == Layout("a", "b", {"c.d": 1})
    assert layout(GRID, "b", None, {}, {}) == Layout("b", "a", {"c.d": 0})
    assert layout(GRID, "training.seed", "a", {"b": "z"}, {}) == Layout("training.seed", "a", {"b": 2, "c.d": 0})
    assert layout(GRID, "a", "a", {}, {}) == Layout("b", "a", {"c.d": 0})
    assert layout({"training.seed": [1, 2]}, None, None, {}, {}) == Layout(None, "training.seed", {})
    assert layout({"one": [1], "many": [1, 2]}, None, None, {}, {}) == Layout("many", "one", {})
    for wrong in ({"rows": "q"}, {"cols": "q"}, {"at": {"q": "1"}}, {"at": {"b": "w"}}):
        with pytest.raises(Invalid):
            layout(GRID, **{"rows": None, "cols": None, "at": {}, "best": {}, **wrong})  # type: ignore[arg-type]


def test_values_of_any_type_have_addresses_of_their_own() -> None:
    values = [1, "1", True, "true", None, "null", "#2", "x" * 200, {"k": "v"}, ["1"], 0.5, "plain text"]
    addresses = [address_value({"p": values}, "p", index) for index in range(len(values))]
    assert len(set(addresses)) == len(values)
    for index, address in enumerate(addresses):
        assert layout({"p": values, "q": [1, 2], "r": [1, 2]}, "q", "r", {"p": address}, {}).at == {"p": index}
    assert addresses[-1] == "plain text"


def test_names_are_short_where_that_is_clear() -> None:
    assert short_names(["a.lr", "b.lr", "c.epochs", "experts.0"]) == {
        "a.lr": "a.lr",
        "b.lr": "b.lr",
        "c.epochs": "epochs",
        "experts.0": "experts.0",
    }


def test_cells_are_means_over_seeds_on_nine_steps() -> None:
    grid: dict[str, list[Any]] = {"a": [1, 2], "b": ["x", "y"], "training.seed": [1, 2]}
    result = heat_map(grid, points(grid, [0.0, 0.2, 0.5, 0.5, 0.9, 1.0, None, 0.3]), Layout("a", "b", {}), "max")
    cells = [cell for row in result.rows for cell in row.cells]
    assert [cell.mean for cell in cells] == pytest.approx([0.1, 0.5, 0.95, 0.3])
    assert [cell.n for cell in cells] == [2, 2, 2, 1]
    assert [cell.std is None for cell in cells] == [False, False, False, True]
    assert [cell.step for cell in cells] == [0, 4, 8, 2]
    assert [cell.is_best for cell in cells] == [False, False, True, False]
    assert cells[2].url == "/ui/compare?job=job_4~0&job=job_5~1"
    lower = heat_map(grid, points(grid, [0.0, 0.2, 0.5, 0.5, 0.9, 1.0, None, 0.3]), Layout("a", "b", {}), "min")
    assert [cell.step for row in lower.rows for cell in row.cells] == [8, 4, 0, 6]
    assert [lower.worst, lower.best] == pytest.approx([0.95, 0.1])


def luminance(colour: str) -> float:
    """The relative luminance of #rrggbb, as WCAG defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_colours_are_a_scale_away_from_the_ground_with_legible_text(theme: int) -> None:
    tokens = (STATIC / "css" / "tokens.css").read_text()
    pairs = re.findall(r"--([a-z0-9-]+): light-dark\((#\w{6}), (#\w{6})\)", tokens)
    colours = {name: values[theme] for name, *values in pairs}
    steps = [colours[f"heat-{step}"] for step in range(heatmap.STEPS)]
    from_ground = [contrast(step, colours["bg"]) for step in steps]
    assert from_ground == sorted(from_ground)
    for step, colour in enumerate(steps):
        assert contrast(colour, colours["on-heat-low" if step < 5 else "on-heat-high"]) >= 4.5, step


def test_a_slice_has_the_points_with_its_values_alone() -> None:
    grid: dict[str, list[Any]] = {"a": [1, 2], "b": ["x"], "c": [{"k": 1}, {"k": 1.5}]}
    result = heat_map(grid, points(grid, [0.1, 0.2, 0.3, 0.4]), Layout("b", "a", {"c": 1}), "max")
    assert [cell.mean for row in result.rows for cell in row.cells] == [0.2, 0.4]
    assert result.columns == ["1", "2"]


def test_a_map_without_values_or_beyond_its_limits() -> None:
    grid: dict[str, list[Any]] = {"a": list(range(50)), "b": list(range(30))}
    empty = heat_map(grid, [], Layout("a", "b", {}), "max")
    assert (empty.best, empty.hidden_rows, empty.hidden_columns) == (None, 10, 6)
    assert len(empty.rows) == heatmap.MAX_ROWS
    states = [State.running, State.queued, State.failed, State.paused]
    one = [point(n, {"a": 1}, None, state) for n, state in enumerate(states)]
    [row] = heat_map({"a": [1]}, one, Layout(None, "a", {}), "max").rows
    assert (row.cells[0].active, row.cells[0].pending, row.cells[0].failed) == (1, 2, 1)
    same = heat_map({"a": [1, 2]}, points({"a": [1, 2]}, [0.5, 0.5]), Layout(None, "a", {}), "max")
    assert [cell.step for cell in same.rows[0].cells] == [4, 4]


def test_a_comparison_has_two_to_twenty_jobs() -> None:
    assert compare_url(["a"]) is None
    assert compare_url(["a", "a"]) is None
    assert compare_url(["a", "b"]) == "/ui/compare?job=a~0&job=b~1"
    assert str(compare_url([f"j{n}" for n in range(30)])).count("job=") == 20


def row(values: dict[str, Any], mean: float | None) -> LeaderboardRow:
    measured: dict[str, Any] = {"mean": mean, "std": None, "low": None, "high": None, "test_accuracy": None}
    return LeaderboardRow(values=values, n=1, best="job_1", jobs=["job_1"], stopped_early=False, **measured)


def test_parallel_coordinates_have_an_axis_for_each_field_with_several_values() -> None:
    grid: dict[str, list[Any]] = {"a": [10, 1, 5], "b": ["x", "y"], "one": [1], "training.seed": [1, 2]}
    rows = [row({"a": 10, "b": "y", "one": 1}, 0.9), row({"a": 1, "b": "x", "one": 1}, 0.1), row({"a": 5, "b": "x", "one": 1}, None)]  # fmt: skip  # noqa: E501
    drawing = parallel(grid, rows, short_names(list(grid)), "metric", "max")
    assert drawing is not None
    assert [axis.name for axis in drawing.axes] == ["a", "b", "metric"]
    assert [tick.text for tick in drawing.axes[0].ticks] == ["1", "5", "10"]
    assert [(line.step, line.is_best) for line in drawing.lines] == [(0, False), (8, True)]
    assert drawing.lines[-1].path == "M80 34L260 34L440 34"
    assert drawing.lines[0].path == "M80 244L260 244L440 244"
    assert parallel(grid, rows[2:], {}, "metric", "max") is None
    assert parallel({}, [], {}, "metric", "max") is None


def test_parallel_coordinates_draw_the_best_of_many() -> None:
    grid = {"a": list(range(200))}
    rows = [row({"a": n}, 1.0 + n) for n in range(200)]
    drawing = parallel(grid, rows, {"a": "a"}, "loss", "min")
    assert drawing is not None
    assert (len(drawing.lines), drawing.hidden) == (MAX_LINES, 50)
    assert len(drawing.axes[0].ticks) <= 9
