"""The picture of a report: accuracies with their 95 % intervals, the fused path and its controls, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from app.results.predictions.schemas import Model
from app.results.report.schemas import Report

_ROW, _LABELS, _PLOT, _NUMBERS, _AXIS = 26, 300, 420, 70, 34
# The mean width of a character of a label is less.
_CHARACTER = 7


class _Bar(NamedTuple):
    label: str
    model: Model
    color: str


def as_svg(report: Report) -> str:
    """An SVG document of its own, readable on light and on dark paper."""
    bars = [_Bar(one.label, one.model, _color(one.label)) for one in report.figures]
    bars += [_Bar(one.label, one.model, "#c2410c") for one in report.controls if one.jobs and one.model is not None]
    low, high = _range([bar.model for bar in bars])
    labels = max(_LABELS, _CHARACTER * max(len(bar.label) for bar in bars) + 10)
    width, height = labels + _PLOT + _NUMBERS, _ROW * len(bars) + _AXIS

    def x(value: float) -> float:
        return round(labels + _PLOT * (value - low) / (high - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{title_of(report)}: {escape(report.name or report.job)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for tick in _ticks(low, high):
        parts.append(f'<line x1="{x(tick)}" x2="{x(tick)}" y1="0" y2="{height - _AXIS}" stroke="#d4d4d8"/>')
        parts.append(
            f'<text x="{x(tick)}" y="{height - 14}" text-anchor="middle" fill="#52525b">{100 * tick:.0f} %</text>'
        )
    for index, bar in enumerate(bars):
        middle = index * _ROW + _ROW / 2
        model = bar.model
        parts += [
            f'<text x="{labels - 10}" y="{middle + 4}" text-anchor="end" fill="#18181b">{escape(bar.label)}</text>',
            *_interval(bar, x, middle),
            f'<circle cx="{x(model.accuracy)}" cy="{middle}" r="5" fill="{bar.color}"/>',
            f'<text x="{labels + _PLOT + 10}" y="{middle + 4}" fill="#18181b">{100 * model.accuracy:.1f} %</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def title_of(report: Report) -> str:
    """What the picture shows."""
    has_intervals = any(one.model.low is not None for one in report.figures)
    return "Test accuracy with 95 % intervals" if has_intervals else "Test accuracy"


def _interval(bar: _Bar, x: Callable[[float], float], middle: float) -> list[str]:
    if bar.model.low is None or bar.model.high is None:
        return []
    ends = f'x1="{x(bar.model.low)}" x2="{x(bar.model.high)}"'
    return [f'<line {ends} y1="{middle}" y2="{middle}" stroke="{bar.color}" stroke-width="3"/>']


def _color(label: str) -> str:
    return "#1d4ed8" if label == "fused" else "#71717a"


def _range(models: Sequence[Model]) -> tuple[float, float]:
    """The accuracies that the axis covers, with some room."""
    ends = [end for model in models for end in (model.low, model.accuracy, model.high) if end is not None]
    low, high = min(ends), max(ends)
    room = max(0.01, 0.05 * (high - low))
    return max(0.0, low - room), min(1.0, high + room)


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / step <= 7)
    first = int(low / step) + 1
    ticks = [round(step * k, 2) for k in range(first, int(high / step) + 1)]
    return ticks or [round((low + high) / 2, 2)]
