"""Field types that all parts of a job specification share: strict, immutable, without unknown fields."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError


class SpecModel(BaseModel):
    """Base class of all parts. Refuses `true` for a number, `"3"` for an integer, NaN and unknown fields."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, populate_by_name=True
    )


class InvalidField(NamedTuple):
    """The field of a part of a specification that cannot be as it is, and one sentence that says why."""

    field: str
    message: str


# Where an error that a whole model raises has the field that it is about.
FIELD = "field"
# Values that reach a scheduler's command line or a file name: no space, quote, slash or newline, 64 characters at most.
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
SafeName = Annotated[str, StringConstraints(pattern=SAFE_NAME)]
# Free text. Control characters (Unicode category Cc), invisible formatting characters (Cf, among them the bidirectional
# marks) and the separators of lines and paragraphs would break terminals, PostgreSQL (NUL) and CSV files, or show
# another text than there is.
_UNPRINTABLE = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    # Outside the basic plane, patterns have no escape that all of JSON Schema, Python and Rust understand.
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
ONE_LINE = f"^[^{_UNPRINTABLE}]*$"
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
_PATTERN_MESSAGES = {
    SAFE_NAME: "must be letters, digits and _ . -, start with a letter or digit, and have at most 64 characters",
    GRES: "must be letters, digits and _ . : -, start with a letter or digit, and have at most 64 characters",
    ONE_LINE: "must be one line without control characters and invisible formatting characters",
    JOB_ID: "must be job_ followed by 26 characters",
    NO_NUL: "must not contain NUL",
}
# Phrases of Pydantic and their replacements.
_REPHRASED = {
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


def in_words(entry: Mapping[str, Any], pattern_messages: Mapping[str, str] = {}) -> str:
    """A plain message for one entry of `ValidationError.errors()`; `pattern_messages` adds messages by pattern."""
    if entry["type"] == "extra_forbidden":
        return "there is no such field"
    if entry["type"] == "string_pattern_mismatch":
        pattern = entry["ctx"]["pattern"]
        return {**_PATTERN_MESSAGES, **pattern_messages}.get(pattern) or f"must match {pattern}"
    if entry["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return "must be an object"
    if entry["type"] in ("bool_type", "bool_parsing"):
        return "must be true or false"
    message = str(entry["msg"])
    for phrase, replacement in _REPHRASED.items():
        message = message.replace(phrase, replacement)
    return message[:1].lower() + message[1:]


def field_error(loc: Sequence[str | int], msg: str) -> PydanticCustomError:
    """An error that a validator of a whole model raises about one field of it, at `loc`."""
    return PydanticCustomError("value_error", msg, {FIELD: list(loc)})


def accept_old_name(data: Any, old: str, new: str) -> Any:
    """Input data with a renamed field under its new name; raises ValueError where both names are given."""
    if not isinstance(data, dict) or old not in data:
        return data
    if new in data:
        raise ValueError(f"{old} is another name for {new}: give only one of them")
    return {(new if key == old else key): value for key, value in data.items()}


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
    """Which component to load: a job's component by name, a component by id or, without the service, a file.

    Exactly one of three forms: `{"job", "component"}`, `{"component": "cmp_.."}`, `{"path"}`.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": _REFERENCE_FORMS})
    job: JobId | None = None
    component: Annotated[str, StringConstraints(max_length=64)] | None = None
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=NO_NUL)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_form(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        present = {key for key, value in data.items() if value is not None}
        if present & {"job", "component", "path"} not in ({"job", "component"}, {"component"}, {"path"}):
            raise ValueError(
                'name a component as {"job": "job_..", "component": "expert_0"}, as {"component": "cmp_.."} or, '
                'without the service, as {"path": "file"}'
            )
        return data

    @model_validator(mode="after")
    def _check_ids(self) -> ComponentRef:
        if self.job is not None and not re.fullmatch(COMPONENT_NAME[1:-1], self.component or ""):
            raise ValueError("a job's component is one of expert_0, expert_1, .., fusion, head, complete")
        if self.job is None and self.component is not None and not re.fullmatch(COMPONENT_ID[1:-1], self.component):
            raise ValueError(
                'a component id is "cmp_" followed by 26 characters; to name a component, give its job too'
            )
        return self
