"""What a person has entered into the form of a new job."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.jobs.schemas import DryRun
from app.web.views.form_values import Values, ordered, rows_of, to_spec, to_values
from app.web.views.spec_leaves import leaves_by_path, pattern_of
from app.web.views.spec_text import read_text, to_text
from core.spec import KINDS, SpecError

_KEY = re.compile(r"[0-9A-Z]{26}")


@dataclass
class Draft:
    """The form and the text of a specification; `edited` says which of them leads.

    `data` is None if the text cannot be read. `rows` are the rows of the form that the experts in `data` come from.
    """

    kind: str
    values: Values
    text: str = ""
    edited: str = "form"
    key: str = ""
    data: dict[str, Any] | None = None
    rows: list[int] | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    run: DryRun | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been entered."""
        return self.data is not None and not {key for key, value in self.data.items() if value} - {"kind"}


def draft_of(data: dict[str, Any], kind: str) -> Draft:
    """The draft that stands for a specification."""
    data, values = ordered(data), to_values(kind, data)
    return Draft(kind, values, to_text(data), data=data, rows=rows_of(values))


def read_draft(items: Iterable[tuple[str, object]]) -> Draft:
    """The draft in the fields of a form; whichever of form and text leads determines the other."""
    fields = {name: value for name, value in items if isinstance(value, str)}
    kind = fields.get("kind", "")
    kind = kind if kind in KINDS else "fusion"
    known = leaves_by_path(kind)
    values = {name: value.strip() for name, value in fields.items() if pattern_of(name) in known and value.strip()}
    draft = Draft(kind, values, fields.get("text", ""), fields.get("edited", ""), valid_key(fields.get("key", "")))
    if draft.edited != "text":
        draft.edited = "form"
        draft.data, draft.rows = to_spec(kind, values), rows_of(values)
        draft.text = to_text(draft.data, like=draft.text)
        return draft
    try:
        draft.data = read_text(draft.text)
    except SpecError as error:
        draft.errors = [{"loc": list(entry.loc), "msg": entry.msg} for entry in error.errors]
        return draft
    value = draft.data.get("kind")
    draft.kind = value if isinstance(value, str) and value in KINDS else kind
    draft.values = to_values(draft.kind, draft.data)
    return draft


def valid_key(key: str) -> str:
    """The idempotency key of a form; empty if no page gave it."""
    return key if _KEY.fullmatch(key) else ""
