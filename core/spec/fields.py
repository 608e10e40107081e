"""Field types that every part of a job specification shares: strict, frozen, and refusing what they do not know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator


class SpecModel(BaseModel):
    """A part of a specification. `true` is no number, `"3"` is no integer, NaN and unknown fields are refused."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, populate_by_name=True
    )


# What reaches a scheduler's command line or a file name is held to this: no blank, quote, slash or newline, 64 at most.
SAFE_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Word = Annotated[str, StringConstraints(pattern=SAFE_WORD)]
# Text that a person reads; control characters (NUL among them) would break terminals and PostgreSQL.
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, StringConstraints(pattern=ONE_LINE, max_length=200)]
GRES = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, le=1e9)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

ULID = "[0-9A-HJKMNP-TV-Z]{26}"
JOB_ID = rf"^job_{ULID}$"
COMPONENT_ID = rf"^cmp_{ULID}$"
JobId = Annotated[str, StringConstraints(pattern=JOB_ID)]
NO_NUL = r"^[^\x00]+$"
COMPONENT_NAME = r"^(expert_(0|[1-9][0-9]{0,2})|fusion|head|complete)$"
# What patterns ask for, in words.
_ASKED = {
    SAFE_WORD: "must be letters, digits and _ . - with a letter or digit first, 64 at most",
    GRES: "must be letters, digits and _ . : - with a letter or digit first, 64 at most",
    ONE_LINE: "must be one line, without control characters",
    JOB_ID: "must be job_ and 26 characters",
    NO_NUL: "must be without NUL",
}
_PYDANTIC = {
    "Value error, ": "",
    "Input should": "must",
    "Tuple should": "must",
    "List should": "must",
    "Dictionary should": "must",
    "String should": "must",
    "must be a valid integer": "must be an integer",
    "must be a valid array": "must be a list",
    "must be a valid": "must be a",
    " after validation": "",
}


def in_words(entry: Mapping[str, Any], asked: Mapping[str, str] = {}) -> str:
    """What an entry of a `ValidationError` says, for a person; `asked` tells of further patterns."""
    if entry["type"] == "extra_forbidden":
        return "there is no such field"
    if entry["type"] == "string_pattern_mismatch":
        pattern = entry["ctx"]["pattern"]
        return {**_ASKED, **asked}.get(pattern) or f"must match {pattern}"
    if entry["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "must be an object"
    message = str(entry["msg"])
    for theirs, ours in _PYDANTIC.items():
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:]


_NULL: JsonValue = {"type": "null"}
# In JSON schema, what ComponentRef's validators check.
_REFERENCE_FORMS: list[JsonValue] = [
    {
        "required": ["job", "component"],
        "properties": {
            "job": {"type": "string"},
            "component": {"type": "string", "pattern": COMPONENT_NAME},
            "path": _NULL,
        },
    },
    {
        "required": ["component"],
        "properties": {"job": _NULL, "component": {"type": "string", "pattern": COMPONENT_ID}, "path": _NULL},
    },
    {"required": ["path"], "properties": {"job": _NULL, "component": _NULL, "path": {"type": "string"}}},
]


class ComponentRef(SpecModel):
    """Where weights come from: a job's component by name, a component by id or, without the service, a file.

    Exactly one of the three forms: `{"job", "component"}`, `{"component": "cmp_.."}`, `{"path"}`.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": _REFERENCE_FORMS})
    job: JobId | None = None
    component: Annotated[str, StringConstraints(max_length=64)] | None = None
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=NO_NUL)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_form(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {key for key, value in data.items() if value is not None}
        if given & {"job", "component", "path"} not in ({"job", "component"}, {"component"}, {"path"}):
            raise ValueError(
                'name a component as {"job": "job_..", "component": "expert_0"}, as {"component": "cmp_.."} or, '
                'without the service, as {"path": "file"}'
            )
        return data

    @model_validator(mode="after")
    def _well_formed(self) -> ComponentRef:
        if self.job is not None and not re.fullmatch(COMPONENT_NAME[1:-1], self.component or ""):
            raise ValueError("a job's component is one of expert_0, expert_1, .., fusion, head, complete")
        if self.job is None and self.component is not None and not re.fullmatch(COMPONENT_ID[1:-1], self.component):
            raise ValueError('a component id is "cmp_" and 26 characters; by name, give its job as well')
        return self
