"""Differences of specifications and results, and the jobs in the address of a comparison."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.web.views import words
from app.web.views.difference import expert_rows, field_rows, metric_rows, signed
from app.web.views.selection import MAX_JOBS, distinct_names, parse_selection


def test_fields_are_compared_by_path_and_null_is_as_absent() -> None:
    one = {"kind": "fusion", "training": {"lr": 0.1, "seed": None}, "experts": [{"arch": "a"}, {"arch": "b"}]}
    two = {"kind": "fusion", "training": {"lr": 0.2}, "experts": [{"arch": "a"}], "tags": ["x"]}
    rows = {row.path: row for row in field_rows([one, two])}
    assert {path for path, row in rows.items() if row.differs} == {"training.lr", "experts[1].arch", "tags"}
    assert rows["training.lr"].values == ["0.1", "0.2"]
    assert rows["experts[1].arch"].values == ["b", None]
    assert rows["tags"].values == [None, '["x"]']


def test_the_best_result_is_marked_with_the_difference_to_the_first() -> None:
    results: list[dict[str, float | None]] = [
        {"test/accuracy_fused": 0.8, "test/nll": 0.5, "test/contribution_expert_0": 0.1, "val/accuracy_fused": 1.0},
        {"test/accuracy_fused": 0.9, "test/nll": 0.7, "test/contribution_expert_0": 0.2},
        {"test/accuracy_fused": None},
    ]
    rows = {row.key: row.cells for row in metric_rows(results)}
    assert list(rows) == ["test/accuracy_fused", "test/contribution_expert_0", "test/nll"]
    assert [cell.is_best for cell in rows["test/accuracy_fused"]] == [False, True, False]
    assert [cell.is_best for cell in rows["test/nll"]] == [True, False, False]
    # Neither a high nor a low contribution is better.
    assert not any(cell.is_best for cell in rows["test/contribution_expert_0"])
    assert [cell.delta for cell in rows["test/accuracy_fused"]] == [None, "+0.1000", None]
    assert [(cell.text, cell.delta) for cell in rows["test/contribution_expert_0"]] == [
        ("+10.0", None), ("+20.0", "+10.0"), (words.NOTHING, None),
    ]  # fmt: skip


def test_shapley_values_are_written_in_points() -> None:
    [row] = metric_rows([{"test/shapley_expert_0": 0.1}, {"test/shapley_expert_0": 0.05}])
    assert row.label == "shapley expert 0, points"
    assert [(cell.text, cell.delta) for cell in row.cells] == [("+10.0", None), ("+5.0", "\u22125.0")]


def test_differences_have_a_sign() -> None:
    assert [signed(0.5, 2), signed(-0.5, 4), signed(0.0, 4)] == ["+0.50", "\u22120.5000", "±0"]


def test_experts_are_listed_before_and_after_training() -> None:
    results: list[dict[str, float | None]] = [
        {"test/accuracy_expert_0_before": 0.2, "test/accuracy_expert_0": 0.9, "test/accuracy_expert_10": 0.5},
        {"test/accuracy_expert_0": 0.8},
    ]
    rows = expert_rows(results)
    assert [(row.expert, row.pairs) for row in rows] == [
        (0, [(0.2, 0.9), (None, 0.8)]),
        (10, [(None, 0.5), (None, None)]),
    ]


def test_slots_in_the_address_are_kept_and_others_are_free_ones() -> None:
    assert parse_selection(["a~3", "b", "c~3", "a~1", "d~99"]) == [("a", 3), ("b", 0), ("c", 1), ("d", 2)]
    assert parse_selection([]) == []


@given(st.lists(st.text(max_size=12), max_size=MAX_JOBS))
def test_any_address_gives_each_job_a_slot_of_its_own(texts: list[str]) -> None:
    selected = parse_selection(texts)
    assert len({slot for _, slot in selected}) == len(selected)
    assert parse_selection([f"{job}~{slot}" for job, slot in selected]) == selected


def test_equal_names_are_told_apart() -> None:
    assert distinct_names([("job_1111", "x"), ("job_2222", "x"), ("job_3333", "y")]) == ["x …1111", "x …2222", "y"]
