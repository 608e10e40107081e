"""The session of a request: reading ones, and writing ones that commit before the response is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from app.db import reading, transaction
from app.settings import Settings


def _read(request: Request) -> Iterator[Session]:
    with reading(request.app.state.engine) as session:
        yield session


def _write(request: Request) -> Iterator[Session]:
    with transaction(request.app.state.engine) as session:
        yield session


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


# With the default scope the commit would come after the response: a failed one would have answered 200.
Reading = Annotated[Session, Depends(_read, scope="function")]
Writing = Annotated[Session, Depends(_write, scope="function")]
Configured = Annotated[Settings, Depends(_settings)]
