"""The jobs of a comparison as its address has them: `ID~SLOT`, where the slot gives a job its colour for good."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

MAX_JOBS = 20
_SLOT = re.compile(r"(.*)~(\d{1,3})", re.DOTALL)


def parse_selection(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Jobs with their slots, in the order of the address. A job without a valid slot gets the lowest free one."""
    slots: dict[str, int | None] = {}
    for text in texts:
        match = _SLOT.fullmatch(text)
        job, slot = (match[1], int(match[2])) if match else (text, None)
        is_free = slot is not None and slot < MAX_JOBS and slot not in slots.values()
        slots.setdefault(job, slot if is_free else None)
    used = {slot for slot in slots.values() if slot is not None}
    free = (slot for slot in range(len(slots) + MAX_JOBS) if slot not in used)
    return [(job, next(free) if slot is None else slot) for job, slot in slots.items()]


def selection_query(jobs: Sequence[tuple[str, int]]) -> str:
    """The jobs as parameters of an address."""
    return "&".join(f"job={quote(job, safe='')}~{slot}" for job, slot in jobs)


def with_first(jobs: Sequence[tuple[str, int]], first: str) -> list[tuple[str, int]]:
    """The jobs with one of them first, which makes it the baseline; each keeps its slot."""
    return sorted(jobs, key=lambda one: one[0] != first)


def compare_url(jobs: Sequence[str]) -> str | None:
    """The comparison of two or more jobs, each with its own colour; as many as fit."""
    different = list(dict.fromkeys(jobs))[:MAX_JOBS]
    if len(different) < 2:
        return None
    return f"/ui/compare?{selection_query([(job, slot) for slot, job in enumerate(different)])}"


def distinct_names(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names of jobs, given with their ids; equal names get the end of the id."""
    counts: dict[str, int] = {}
    for _, name in names:
        counts[name] = counts.get(name, 0) + 1
    return [name if name and counts[name] == 1 else f"{name} …{job[-4:]}".strip() for job, name in names]
