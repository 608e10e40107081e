"""What the form of a new job starts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from app.jobs import queries
from app.web.views.spec_text import given_fields
from core.spec import ComponentRef

_EXPERTS = [{"arch": "convnet_small"}]
EXAMPLES: dict[str, dict[str, Any]] = {
    "fusion": {"experts": _EXPERTS, "num_experts": 4, "dataset": {"name": "digits"}, "training": {"epochs": 10}},
    "expert": {"expert": {"arch": "convnet_small"}, "dataset": {"name": "digits"}, "training": {"epochs": 10}},
}


def example(kind: str) -> dict[str, Any]:
    """A small job of a kind; for kinds that need saved components, nothing but the kind."""
    return {"kind": kind, **EXAMPLES.get(kind, {})}


def of_components(
    session: Session, kind: str, experts: Sequence[str], fusion: str | None, head: str | None
) -> dict[str, Any]:
    """A job with these components, on the data on which they were trained if that is the same for all."""
    data: dict[str, Any] = {"kind": kind}
    references = [{"from": {"component": component}} for component in experts]
    if kind == "expert":
        data["expert"] = references[0] if references else {}
    else:
        data["experts"] = references
        data |= {"fusion": {"from": {"component": fusion}}} if fusion else {}
        data |= {"head": {"from": {"component": head}}} if head and kind != "head" else {}
    dataset = _common_dataset(session, [*experts, *filter(None, (fusion, head))])
    return data | ({"dataset": dataset} if dataset else {})


def _common_dataset(session: Session, component_ids: Sequence[str]) -> dict[str, Any] | None:
    rows = [queries.find_component(session, ref) for ref in map(_reference, component_ids) if ref is not None]
    datasets = []
    for row in rows:
        if row is not None:
            dataset = given_fields({"dataset": row.spec.get("dataset", {})}, _UNSHOWN).get("dataset", {})
            datasets.append(dataset)
    if not datasets:
        return None
    if all(dataset == datasets[0] for dataset in datasets):
        return dict(datasets[0])
    names = {dataset.get("name") for dataset in datasets}
    return {"name": names.pop()} if len(names) == 1 and None not in names else None


# What a resolved split always has and nobody needs to see again.
_UNSHOWN = ("dataset.split.version", "dataset.split.val")


def _reference(component_id: str) -> ComponentRef | None:
    try:
        return ComponentRef(component=component_id)
    except ValueError:
        return None
