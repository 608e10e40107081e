"""Sentences and groups that the page and the Markdown of a report have in common."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

# By the column of the table of experts; all of it on the test images.
_OF_EXPERTS = {
    "before": "Before: accuracy of the expert alone, before the training of this job.",
    "after": "After: accuracy of the expert alone, after it.",
    "contribution": "Contribution: what the fused accuracy loses when the features of this expert are shuffled over "
    "the images, so that the fusion gets features of other images.",
    "without": "Fused without it: the fused accuracy when this expert is absent and the fusion gets nothing from it.",
    "shapley": "Shapley value: what this expert adds to the fused accuracy of the experts before it, averaged over all "
    "orders of the experts.",
}
# Fewer are listed one by one.
_MIN_RANGE = 3


def explain_experts(columns: Collection[str]) -> list[str]:
    """A sentence for each of these columns of the table that says what each expert is worth."""
    return [sentence for column, sentence in _OF_EXPERTS.items() if column in columns]


def group_absences(absent: Mapping[str, str]) -> list[tuple[str, str]]:
    """Names of what was not measured, with the reason; numbered names with one reason become one entry.

    An entry has every name, or the first and the last one of a range.
    """
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name, reason in absent.items():
        number = re.search(r"\d+", name)
        stem = name if number is None else f"{name[: number.start()]}#{name[number.end() :]}"
        groups.setdefault((stem, reason), []).append((int(number[0]) if number else 0, name))
    return [(_joined(sorted(members)), reason) for (_, reason), members in groups.items()]


def _joined(members: list[tuple[int, str]]) -> str:
    first, last = members[0], members[-1]
    is_range = last[0] - first[0] == len(members) - 1 >= _MIN_RANGE - 1
    return f"{first[1]} to {last[1]}" if is_range else ", ".join(name for _, name in members)
