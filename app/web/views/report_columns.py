"""Which columns the tables of a report have: those for which some row has a value."""

from __future__ import annotations

from collections.abc import Sequence

from app.results.report.schemas import ControlFigure, ExpertWorth, Figure

_OF_EXPERTS = ("arch", "source", "before", "after", "contribution", "without", "shapley")


def figure_columns(rows: Sequence[Figure | ControlFigure]) -> list[str]:
    """Of `interval`, `nll`, `ece`, both `scaled` by a temperature, and `difference` (from the fused path)."""
    models = [row.model for row in rows if row.model is not None]
    known = {
        "interval": any(model.low is not None for model in models),
        "nll": any(model.nll is not None for model in models),
        "ece": any(model.ece is not None for model in models),
        "scaled": any(model.scaled is not None for model in models),
        "difference": any(row.fused_minus is not None for row in rows),
    }
    return [name for name, is_known in known.items() if is_known]


def expert_columns(rows: Sequence[ExpertWorth]) -> list[str]:
    """The fields of an expert besides its number."""
    return [name for name in _OF_EXPERTS if any(getattr(row, name) is not None for row in rows)]
