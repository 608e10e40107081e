"""Experts that start from the same component, and so with the same weights. Needs no torch."""

from __future__ import annotations

from collections.abc import Container

from core.spec.fields import ComponentRef
from core.spec.jobs import ExpertJob, JobSpec
from core.spec.stage_trainings import always_frozen


def repeated_experts_warning(spec: JobSpec, complete: Container[str] = ()) -> str | None:
    """One sentence if a component is the start of several experts of a resolved specification, otherwise None.

    `complete` has the fields that name a complete model by its id or file: each takes another expert of it.
    """
    if isinstance(spec, ExpertJob):
        return None
    starts: dict[ComponentRef, list[str]] = {}
    for field, ref in spec.sources().items():
        if field.startswith("experts.") and ref.component != "complete" and field not in complete:
            starts.setdefault(ref, []).append(field)
    groups = [(ref, fields) for ref, fields in starts.items() if len(fields) > 1]
    if not groups:
        return None
    ref, fields = groups[0]
    named = f"{', '.join(fields[:-1])} and {fields[-1]} are the same component, {_name(ref)}"
    more = f", and {len(groups) - 1} more components are listed several times" if len(groups) > 1 else ""
    stay = "always frozen" if "experts" in always_frozen(spec.training) else "trained further"
    return (
        f"{named}{more}: experts with equal weights tell a fusion nothing new, and these are {stay}. "
        "List each component once, or train experts with other seeds or data."
    )


def _name(ref: ComponentRef) -> str:
    return ref.path or (f"{ref.component} of {ref.job}" if ref.job else str(ref.component))
