"""What a model is worth: fused, ensembles, oracle and experts side by side, and what is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

# Shades of the tables of disagreement and of winning shares.
LEVELS = 6
V = TypeVar("V", float, float | None)
T = TypeVar("T")
_PATHS = {
    "fused": "Fused",
    "ensemble": "Ensemble, mean of logits",
    "ensemble_probabilities": "Ensemble, mean of probabilities",
    "oracle": "Oracle: any expert is right",
}


class Path(NamedTuple):
    """An accuracy by its name."""

    key: str
    label: str
    accuracy: float
    is_best: bool = False


class ExpertRow(NamedTuple):
    """The accuracy of an expert before and after the job, and what it is worth to that of the fused path.

    `contribution` is lost if its features come from other images, `leave_one_out` if it is absent; `shapley` is its
    share of what all experts add.
    """

    number: int
    before: float | None
    after: float | None
    contribution: float | None
    leave_one_out: float | None = None
    shapley: float | None = None

    @property
    def change(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


class Subset(NamedTuple):
    """The best subset of its size, and its fused accuracy."""

    size: int
    experts: str
    accuracy: float


class Evaluation(NamedTuple):
    """`oracle_gap` is the oracle's accuracy minus the fused one, negative if fused is better; `gain` that of fusion.

    `winning_shares` has a row for each expert and a column for each class.
    `predictions` names the splits whose logits are stored.
    """

    dataset: str
    paths: list[Path]
    oracle_gap: float | None
    gain: float | None
    experts: list[ExpertRow]
    others: Sequence[tuple[str, float]]
    absent: list[tuple[str, list[str]]]
    disagreement: list[list[tuple[float, int]]]
    winning_shares: list[list[tuple[float | None, int]]]
    warnings: list[str]
    predictions: list[str]
    subsets: list[Subset]

    @property
    def columns(self) -> list[str]:
        """The columns of the table of experts that have values; none if it would say what the bars say."""
        known = [
            name
            for name in ("before", "after", "change", "contribution", "leave_one_out", "shapley")
            if any(getattr(row, name) is not None for row in self.experts)
        ]
        return known if len(self.experts) > 1 or len(known) > 1 else []


def evaluation(metrics: Mapping[str, float | None], result: Mapping[str, Any] | None) -> Evaluation | None:
    """The evaluation on test from a job's result, else the latest one on validation; None before there is one."""
    dataset = "val" if result is None else "test"
    values = metrics if result is None else _numbers(result.get("metrics"))
    own = {
        key.partition("/")[2]: value
        for key, value in values.items()
        if key.startswith(f"{dataset}/") and value is not None
    }
    paths = [
        Path(key, label, own[f"accuracy_{key}"]) for key, label in _PATHS.items() if f"accuracy_{key}" in own
    ]  # fmt: skip
    experts = _experts(own)
    best = max(experts, key=lambda row: row.after if row.after is not None else -1.0, default=None)
    if best is not None and best.after is not None:
        name = "Expert" if len(experts) == 1 else f"Best expert ({best.number})"
        paths.insert(1 if paths and paths[0].key == "fused" else 0, Path("best_expert", name, best.after))
    if not paths:
        return None
    fused, oracle = own.get("accuracy_fused"), own.get("accuracy_oracle")
    best_alone = best.after if best is not None else None
    reachable = [path.accuracy for path in paths if path.key != "oracle"]
    result = result or {}
    others = [(key, own[key]) for key in ("nll", "ece", "disagreement") if key in own]
    return Evaluation(
        dataset=dataset,
        paths=[path._replace(is_best=path.key != "oracle" and path.accuracy == max(reachable)) for path in paths],
        oracle_gap=None if fused is None or oracle is None else oracle - fused,
        gain=None if fused is None or best_alone is None else fused - best_alone,
        experts=experts,
        others=others,
        absent=_absent(_of_type(result.get("absent"), dict)),
        disagreement=_shaded(_rows(result.get("pairwise_disagreement"))),
        winning_shares=_shaded(_rows(result.get("winning_share_by_class"))),
        warnings=[str(warning) for warning in _of_type(result.get("warnings"), list)],
        predictions=_stored(result.get("predictions")),
        subsets=_best_subsets(_numbers(result.get("subsets"))),
    )


def _of_type(value: object, kind: type[T]) -> T:
    """A value of a result; an empty one where a damaged file has something else."""
    return value if isinstance(value, kind) else kind()


def _rows(value: object) -> list[list[Any]]:
    rows = _of_type(value, list)
    return rows if all(isinstance(row, list) for row in rows) else []


def _stored(entries: object) -> list[str]:
    known = entries if isinstance(entries, Mapping) else {}
    return [split for split in ("test", "val") if isinstance(known.get(split), Mapping) and "file" in known[split]]


def _numbers(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {str(key): float(value) for key, value in values.items() if isinstance(value, int | float)}


def _experts(own: Mapping[str, float]) -> list[ExpertRow]:
    indices = {
        int(number)
        for key in own
        if key.startswith("accuracy_expert_")
        and (number := key.removeprefix("accuracy_expert_").removesuffix("_before")).isdecimal()
    }
    return [
        ExpertRow(
            k,
            own.get(f"accuracy_expert_{k}_before"),
            own.get(f"accuracy_expert_{k}"),
            own.get(f"contribution_expert_{k}"),
            _difference(own.get("accuracy_fused"), own.get(f"accuracy_without_expert_{k}")),
            own.get(f"shapley_expert_{k}"),
        )
        for k in sorted(indices)
    ]


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _best_subsets(accuracies: Mapping[str, float]) -> list[Subset]:
    """The best subset of each size, the largest first; of equal ones the first. `none` is the one of size 0."""
    best: dict[int, Subset] = {}
    for name, accuracy in accuracies.items():
        size = 0 if name == "none" else name.count(",") + 1
        if size not in best or accuracy > best[size].accuracy:
            best[size] = Subset(size, name.replace(",", ", "), accuracy)
    return [best[size] for size in sorted(best, reverse=True)]


def _absent(reasons: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The metrics that are not there, by their reason."""
    grouped: dict[str, list[str]] = {}
    for key, reason in reasons.items():
        grouped.setdefault(str(reason), []).append(key.removeprefix("test/"))
    return list(grouped.items())


def _shaded(matrix: Sequence[Sequence[V]]) -> list[list[tuple[V, int]]]:
    """Every value with its shade; an empty cell has none."""
    largest = max((value for row in matrix for value in row if value is not None), default=0.0)
    return [
        [(value, round((LEVELS - 1) * value / largest) if value is not None and largest else 0) for value in row]
        for row in matrix
    ]
