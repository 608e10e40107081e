"""The report as Markdown, for a lab's notes or the appendix of a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from app.results.predictions.schemas import Difference, Model
from app.results.predictions.wording import interval_text, p_text, signed_points
from app.results.report.explanations import explain_experts, group_absences
from app.results.report.picture import title_of
from app.results.report.schemas import ControlFigure, ExpertWorth, Figure, Report

# Characters that Markdown would take for its own.
# Within a word an underscore means nothing, and neither does a sign before a space.
_SPECIAL = re.compile(r"([\\`*{}\[\]#|]|(?<!\w)_|_(?!\w)|<(?! )|(?<! )>)")


def as_markdown(report: Report) -> str:
    """The report as Markdown. The picture that it names is `report.svg` beside it."""
    sections = [
        f"# {_text(report.name or report.job)}",
        f"Job `{report.job}`. {_text(report.verdict)}.",
        f"![{title_of(report)}](report.svg)",
        "## What was trained on what",
        _trained_on(report),
        "## Figures on the test images",
        _figures(report.figures, report.oracle),
    ]
    if report.controls:
        sections += ["## Controls: does fusion pay?", _controls(report.controls)]
    if len(report.experts) > 1:
        sections += ["## What each expert is worth", _experts(report.experts)]
    if report.notes:
        sections += ["## What this report cannot claim", _list(_text(note) for note in report.notes)]
    if report.absent:
        reasons = (f"`{names}`: {_text(reason)}" for names, reason in group_absences(report.absent))
        sections += ["## Not measured", _list(reasons)]
    sections += ["## Provenance", f"{_text(report.provenance)}."]
    if report.identity:
        sections.append(f"Identity `{report.identity}`, data `{report.trained_on.data_sha256 or 'not known'}`.")
    return "\n\n".join(sections) + "\n"


def _trained_on(report: Report) -> str:
    data = report.trained_on
    sizes = {"training": data.train, "validation": data.val, "test": data.test}
    images = ", ".join(f"{count:,} {name}" for name, count in sizes.items() if count) or "not known how many"
    split = f"regime {data.regime}, {data.num_shards} shard{'s' if data.num_shards > 1 else ''}"
    split += f", hold-out {data.holdout:.0%}" if data.holdout else ""
    lines = [f"Data {_text(data.dataset)}: {images} images ({split})."]
    known = {name.replace("_", " "): value for name, value in report.training.items() if value is not None}
    stages = known.pop("stages", [])
    if known:
        lines.append(f"Training: {', '.join(f'{name} {_value(name, value)}' for name, value in known.items())}.")
    if stages:
        lines.append("In stages:")
        lines.append("\n".join(f"{number}. {_text(stage)}" for number, stage in enumerate(stages, 1)))
    sources = [f"expert {one.expert} from {_text(one.source)}" for one in report.experts if one.source]
    if sources:
        lines.append(f"Started from: {', '.join(sources)}.")
    return "\n\n".join(lines)


def _figures(figures: Sequence[Figure], oracle: float | None) -> str:
    rows = [
        [one.label, *_model_cells(one.model), *_difference_cells(one.fused_minus)]
        for one in figures
    ]  # fmt: skip
    table = _table([*_MODEL_HEADINGS, *_DIFFERENCE_HEADINGS], rows)
    return table if oracle is None else f"{table}\n\nOracle (any expert is right): {_percent(oracle)}."


def _controls(controls: Sequence[ControlFigure]) -> str:
    rows = [
        [one.label, *_model_cells(one.model), *_difference_cells(one.fused_minus)]
        if one.model
        else [one.label, one.absent or ""]
        for one in controls
    ]
    return _table([*_MODEL_HEADINGS, *_DIFFERENCE_HEADINGS], rows)


_MODEL_HEADINGS = ("", "accuracy", "95 % interval, %", "NLL", "ECE", "NLL scaled", "ECE scaled")
_DIFFERENCE_HEADINGS = ("fused minus this, points", "95 % interval, points", "p")


def _model_cells(model: Model) -> list[str]:
    scaled = model.scaled
    cells = [_percent(model.accuracy), interval_text(model)]
    numbers = (model.nll, model.ece, scaled and scaled.nll, scaled and scaled.ece)
    return cells + ["" if number is None else f"{number:.4f}" for number in numbers]


def _difference_cells(difference: Difference | None) -> list[str]:
    if difference is None:
        return ["", "", ""]
    interval = f"{signed_points(difference.low)} to {signed_points(difference.high)}"
    return [signed_points(difference.value), interval, p_text(difference.p).removeprefix("p = ").removeprefix("p ")]


def _experts(experts: Sequence[ExpertWorth]) -> str:
    rows = [
        [
            str(one.expert),
            one.arch or "",
            *(_percent(value) for value in (one.before, one.after)),
            _points(one.contribution),
            _percent(one.without),
            _points(one.shapley),
        ]
        for one in experts
    ]
    headings = (
        "expert",
        "network",
        "before",
        "after",
        "contribution, points",
        "fused without it",
        "Shapley value, points",
    )
    columns = [name for name in ExpertWorth.model_fields if any(getattr(one, name) is not None for one in experts)]
    return "\n\n".join(
        [_table(headings, rows), *([_list(explained)] if (explained := explain_experts(columns)) else [])]
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _points(value: float | None) -> str:
    return "" if value is None else signed_points(value)


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A seed is a number to copy.
    return f"{value:,}" if isinstance(value, int) and name != "seed" else _text(str(value))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without the columns that are empty in every row."""
    padded = [[*row, *[""] * (len(headings) - len(row))] for row in rows]
    shown = [column for column in range(len(headings)) if any(row[column] for row in padded)]
    lines = [[headings[column] for column in shown], ["---" for _ in shown]]
    lines += [[row[column] for column in shown] for row in padded]
    return "\n".join(f"| {' | '.join(map(_text, cells))} |" for cells in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _text(text: str) -> str:
    """Text of a user, such as the name of a job, without the marks of Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
