"""Components as clients see them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from app.jobs.schemas import Time
from app.models import Component


class Format(BaseModel):
    """A file of a component."""

    bytes: int
    sha256: str
    file_name: str
    link: str


# Fields that are columns of the same name.
_SAME_NAMES = (
    "id", "name", "role", "arch", "dataset", "score", "created_at", "epoch", "metrics", "selected_by",
)  # fmt: skip


class ComponentView(BaseModel):
    """The best version so far of a component, by `selected_by`; `sha256` and `bytes` are of the `.pth`.

    `score` is its value of `selected_by`, `arch` the architecture of an expert, `dataset` what it was trained on.
    """

    id: str
    name: str
    job: str
    job_name: str
    role: str
    arch: str | None
    dataset: str | None
    score: float | None
    created_at: Time
    epoch: int
    metrics: dict[str, float | None]
    selected_by: str
    sha256: str
    bytes: int
    formats: dict[str, Format]

    @classmethod
    def of(cls, row: Component, job_name: str) -> Self:
        """The view of a row, with the name of its job."""
        link = f"/jobs/{row.job_id}/components/{row.name}"
        formats = {
            name: Format(
                bytes=file["bytes"], sha256=file["sha256"], file_name=file["name"], link=f"{link}?format={name}"
            )
            for name, file in row.files.items()
        }
        return cls(
            **{name: getattr(row, name) for name in _SAME_NAMES},
            job=row.job_id,
            job_name=job_name,
            sha256=formats["pth"].sha256,
            bytes=formats["pth"].bytes,
            formats=formats,
        )


class ComponentPage(BaseModel):
    """A page of components."""

    items: list[ComponentView]
    next_cursor: str | None = None
