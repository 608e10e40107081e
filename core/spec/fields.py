"""Field types that every part of a job specification shares: strict, frozen, and refusing what they do not know."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator


class Part(BaseModel):
    """A part of a specification. `true` is no number, `"3"` is no integer, NaN and unknown fields are refused."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, populate_by_name=True
    )


# What reaches a scheduler's command line or a file name is held to this: no blank, quote, slash or newline, 64 at most.
SAFE_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Word = Annotated[str, StringConstraints(pattern=SAFE_WORD)]
# Free text a person reads; control characters (NUL among them) would break terminals and PostgreSQL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0, le=1e9)]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

ULID = "[0-9A-HJKMNP-TV-Z]{26}"
JobId = Annotated[str, StringConstraints(pattern=rf"^job_{ULID}$")]
COMPONENT_NAME = r"^(expert_(0|[1-9][0-9]{0,2})|fusion|head|complete)$"


class ComponentRef(Part):
    """Where weights come from: a job's component by name, a component by id or, without the service, a file.

    Exactly one of the three forms: `{"job", "component"}`, `{"component": "cmp_.."}`, `{"path"}`.
    """

    job: JobId | None = None
    component: Annotated[str, StringConstraints(max_length=64)] | None = None
    path: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")] | None = None

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
        if self.job is None and self.component is not None and not re.fullmatch(f"cmp_{ULID}", self.component):
            raise ValueError('a component id is "cmp_" and 26 characters; by name, give its job as well')
        return self
