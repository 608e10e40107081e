"""The least that could answer: one table, one insert, one file; what the service is measured against."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel
from sqlalchemy import JSON, Column
from sqlmodel import Field, Session, SQLModel
from ulid import ULID

from app.db import make_engine


class BareJob(SQLModel, table=True):
    """A row."""

    __tablename__ = "bare_jobs"
    id: str = Field(primary_key=True)
    spec: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class Body(BaseModel):
    """Anything."""

    kind: str
    model_config = {"extra": "allow"}


engine = make_engine(os.environ["BARE_DATABASE_URL"])
SQLModel.metadata.create_all(engine, tables=[SQLModel.metadata.tables["bare_jobs"]])
app = FastAPI()


def session() -> Iterator[Session]:
    with Session(engine) as made:
        yield made


@app.post("/jobs", status_code=201)
def post_job(body: Body, into: Annotated[Session, Depends(session)]) -> Any:
    """One insert."""
    job = BareJob(id=f"job_{ULID()}", spec=body.model_dump())
    into.add(job)
    into.commit()
    into.refresh(job)
    return job


@app.get("/file")
def get_file() -> FileResponse:
    """One file."""
    return FileResponse(os.environ["BARE_FILE"])
