"""The migrations in `migrations/`, by Alembic."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from app.db.sessions import reading

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def upgrade(url: str) -> None:
    """Apply all migrations up to the latest one."""
    # Alembic takes a quarter of a second to import, and the worker never needs it.
    from alembic import command

    command.upgrade(alembic_config(url), "head")


def is_current(engine: Engine) -> bool:
    """Whether the latest migration has been applied."""
    from alembic.runtime.migration import MigrationContext

    with reading(engine) as session:
        current = MigrationContext.configure(session.connection()).get_current_revision()
    return current == latest_revision()


def latest_revision() -> str | None:
    """The latest migration that this version knows."""
    return next(iter(revisions()), None)


@cache
def revisions() -> tuple[str, ...]:
    """All migrations that this version knows, the latest first. Finding them loads them, so it is done once."""
    from alembic.script import ScriptDirectory

    return tuple(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def alembic_config(url: str) -> Config:
    """Alembic's configuration for a database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
