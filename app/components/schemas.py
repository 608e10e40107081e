"""Components as clients see them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from app.models import Component


class Format(BaseModel):
    """A file of a component."""

    bytes: int
    sha256: str
    file_name: str
    link: str


class ComponentView(BaseModel):
    """The best version so far of a component, by `selected_by`; `sha256` and `bytes` are of the `.pth`."""

    id: str
    name: str
    role: str
    epoch: int
    metrics: dict[str, float | None]
    selected_by: str
    sha256: str
    bytes: int
    formats: dict[str, Format]

    @classmethod
    def of(cls, row: Component) -> Self:
        """The view of a row."""
        link = f"/jobs/{row.job_id}/components/{row.name}"
        formats = {
            name: Format(
                bytes=file["bytes"], sha256=file["sha256"], file_name=file["name"], link=f"{link}?format={name}"
            )
            for name, file in row.files.items()
        }
        shown = {name: getattr(row, name) for name in ("id", "name", "role", "epoch", "metrics", "selected_by")}
        return cls(**shown, sha256=formats["pth"].sha256, bytes=formats["pth"].bytes, formats=formats)


class ComponentPage(BaseModel):
    """The components of a job, by name."""

    items: list[ComponentView]
    next_cursor: str | None = None
