"""The form of a new job: sections of fields with their values, defaults and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.web.views.form_fields import FIELDS, SECTIONS, SHORT
from app.web.views.form_values import Values, rows_of, to_values
from app.web.views.spec_leaves import Leaf, leaves, leaves_by_path, pattern_of
from core.spec.jobs import MAX_EXPERTS

# What an expert job or an evaluation has no use for; shown only if it is given.
_UNUSED = {
    "expert": (
        "training.components.fusion.", "training.components.head.", "training.components.expert_heads.",
        "training.loss.lambda", "training.loss.individual", "training.loss.distillation", "training.gradients",
    ),
    "head": ("training.gradients",),
    "evaluate": (
        "training.components.", "training.loss.", "training.augmentation", "training.epochs", "training.stages",
        "training.gradients", "checkpoint.",
    ),
}  # fmt: skip
_LISTS = {"arch": "architectures", "dataset.name": "datasets"}


@dataclass(frozen=True)
class FieldView:
    """One field of the form. `options` is the id of a list of suggestions."""

    name: str
    label: str
    help: str
    type: str
    choices: tuple[str, ...]
    value: str
    default: str
    error: str
    options: str


@dataclass
class Section:
    """Fields that are folded under one heading."""

    name: str
    fields: list[FieldView] = field(default_factory=list)

    @property
    def given(self) -> int:
        """How many of the fields have a value or an error."""
        return sum(bool(view.value or view.error) for view in self.fields)


@dataclass(frozen=True)
class FormView:
    """The form: the fields that most jobs set, the sections of all others, and a list of fields per row of experts."""

    short: dict[str, FieldView]
    sections: list[Section]
    rows: list[list[FieldView]]


def form_view(kind: str, values: Values, defaults: Values, errors: Mapping[str, str], extra_rows: int = 0) -> FormView:
    """The form with these values; `defaults` are shown where nothing is given."""
    views = {
        leaf.path: _field(leaf, leaf.path, values, defaults, errors)
        for leaf in leaves(kind)
        if "*" not in leaf.path and not _is_unused(kind, leaf.path, values)
    }
    sections = {name: Section(name) for name in SECTIONS}
    for path in sorted(views, key=list(FIELDS).index):
        if path not in SHORT[kind]:
            sections[FIELDS[path].section].fields.append(views[path])
    rows = rows_of(values)
    expert_leaves = [leaf for leaf in leaves(kind) if leaf.path.startswith("experts.*.")]
    count = min(MAX_EXPERTS, max(rows, default=0) + 1 + extra_rows)
    expert_rows = [
        [_field(leaf, leaf.path.replace("*", str(row)), values, defaults, errors) for leaf in expert_leaves]
        for row in range(count if expert_leaves else 0)
    ]
    short = {path: views[path] for path in SHORT[kind]}
    return FormView(short, [section for section in sections.values() if section.fields], expert_rows)


def _is_unused(kind: str, path: str, values: Values) -> bool:
    return path.startswith(_UNUSED.get(kind, ("\0",))) and path not in values


def _field(leaf: Leaf, name: str, values: Values, defaults: Values, errors: Mapping[str, str]) -> FieldView:
    info = FIELDS[leaf.path]
    last = name.rpartition(".")[2]
    options = _LISTS.get(name) or _LISTS.get(last, "")
    if leaf.type == "reference":
        options = "components-expert" if name.startswith("expert") else f"components-{name.partition('.')[0]}"
    default = defaults.get(name) or ("" if leaf.default in (None, [], "") else _default_text(leaf.default))
    value, error = values.get(name, ""), errors.get(name, "")
    return FieldView(name, info.label, info.help, leaf.type, leaf.choices, value, default, error, options)


def _default_text(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def defaults_of(kind: str, resolved: Mapping[str, Any], rates: Mapping[str, float | None]) -> Values:
    """The values that a resolved specification has where nothing is given, with the learning rates of the outline."""
    values = to_values(kind, resolved)
    for name, rate in rates.items():
        if rate is not None:
            values.setdefault(f"training.components.{name}.lr", f"{rate:g}")
    return values


def field_errors(
    kind: str, errors: Sequence[Mapping[str, Any]], rows: Sequence[int] | None
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Errors by the field that shows them, and all of them as (field or empty, sentence).

    `rows` maps the positions of experts in the specification to their rows in the form.
    """
    by_field: dict[str, str] = {}
    everything: list[tuple[str, str]] = []
    for error in errors:
        loc = [str(part) for part in error["loc"]]
        if rows is not None and len(loc) > 1 and loc[0] == "experts" and loc[1].isdecimal() and int(loc[1]) < len(rows):
            loc[1] = str(rows[int(loc[1])])
        name = _nearest(kind, loc)
        message = str(error["msg"])
        if name:
            by_field.setdefault(name, message)
        everything.append((name, f"{'.'.join(loc)[:200]}: {message}" if loc else message))
    return by_field, everything


def _nearest(kind: str, loc: Sequence[str]) -> str:
    """The field at a location, or the first one below or above it; empty if there is none."""
    known = leaves_by_path(kind)
    for length in range(len(loc), 0, -1):
        path = ".".join(loc[:length])
        if pattern_of(path) in known:
            return path
        inner = next((name for name in known if name.startswith(f"{pattern_of(path)}.")), None)
        if inner is not None and length == len(loc):
            # Of a whole object, the first field; of a missing list, that of its first row.
            tail = inner.removeprefix(f"{pattern_of(path)}.").replace("*", "0")
            return f"{path}.{tail}"
    return ""
