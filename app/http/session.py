"""Dependencies of routes: a read session, a write session that commits before the response is sent, the settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from app.db import reading, transaction
from app.settings import Settings


def _read_session(request: Request) -> Iterator[Session]:
    with reading(request.app.state.engine) as session:
        yield session


def _write_session(request: Request) -> Iterator[Session]:
    with transaction(request.app.state.engine) as session:
        yield session


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


# With FastAPI's default scope the commit would come after the response, and a failed one would have answered 200.
Reading = Annotated[Session, Depends(_read_session, scope="function")]
Writing = Annotated[Session, Depends(_write_session, scope="function")]
Configured = Annotated[Settings, Depends(_settings)]
