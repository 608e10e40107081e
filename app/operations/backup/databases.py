"""Copies of the database: SQLite by its online backup, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.operations.backup import queries
from app.operations.backup.manifest import BackupError
from app.operations.backup.queries import BackedUpJob
from app.settings import Settings

SQLITE_FILE = "database.sqlite"
POSTGRES_FILE = "database.dump"


@dataclass(frozen=True)
class DatabaseCopy:
    """A copy of the database in a file, with its latest migration and the jobs in it."""

    file: str
    revision: str
    jobs: Sequence[BackedUpJob]


def kind_of(settings: Settings) -> str:
    """`sqlite` or `postgresql`."""
    return make_url(settings.sqlalchemy_url).get_backend_name()


def sqlite_file(settings: Settings) -> Path:
    """The file of an SQLite database."""
    return Path(make_url(settings.sqlalchemy_url).database or ":memory:").absolute()


def dump(settings: Settings, folder: Path) -> DatabaseCopy:
    """Copies the database into a folder; writers continue meanwhile."""
    try:
        return _dump_sqlite(settings, folder) if kind_of(settings) == "sqlite" else _dump_postgres(settings, folder)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise BackupError(f"the database cannot be backed up: {_first_line(error)}") from None


def check_source(settings: Settings) -> None:
    """Raises BackupError if there is no database to back up, or no program that does it."""
    if kind_of(settings) == "sqlite":
        file = sqlite_file(settings)
        if not file.is_file():
            raise BackupError(f"there is no database {file}: set MCN_DATA_DIR to the data folder of a service", 2)
    else:
        _program("pg_dump")


def _dump_sqlite(settings: Settings, folder: Path) -> DatabaseCopy:
    target = folder / SQLITE_FILE
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    address = sqlite_file(settings).as_uri()
    original = sqlite3.connect(f"{address}?mode=rw", uri=True, timeout=30)
    with closing(original) as source, closing(sqlite3.connect(target)) as copy:
        # In one step: in several, each write of the service would make it begin again.
        source.backup(copy, pages=-1)
        # One file is easier to carry along than one with a write-ahead log.
        copy.execute("PRAGMA journal_mode=DELETE")
    engine = create_engine(f"sqlite:///{target}", poolclass=NullPool)
    with engine.connect() as connection:
        return DatabaseCopy(SQLITE_FILE, _revision(queries.revision_of(connection)), queries.all_jobs(connection))


def _dump_postgres(settings: Settings, folder: Path) -> DatabaseCopy:
    url = make_url(settings.sqlalchemy_url)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        snapshot = queries.export_snapshot(connection)
        revision, jobs = _revision(queries.revision_of(connection)), queries.all_jobs(connection)
        target = folder / POSTGRES_FILE
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
        _run("pg_dump", "-Fc", f"--snapshot={snapshot}", f"--file={target}", url=url)
    return DatabaseCopy(POSTGRES_FILE, revision, jobs)


def _revision(revision: str | None) -> str:
    if revision is None:
        raise BackupError("the database is empty: there is nothing to back up")
    return revision


def check_target(settings: Settings) -> None:
    """Raises BackupError unless a database can be restored: it must be empty, or an SQLite file that is not there."""
    if kind_of(settings) == "sqlite":
        file = sqlite_file(settings)
        if file.exists():
            raise BackupError(f"{file} is in the way: a backup is restored only where there is no database yet")
        return
    _program("pg_restore")
    url = make_url(settings.sqlalchemy_url)
    try:
        with create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10}).connect() as connection:
            tables = queries.tables_of(connection)
    except SQLAlchemyError as error:
        raise BackupError(f"the database cannot be used: {_first_line(error)}") from None
    if tables:
        names = ", ".join(tables[:3]) + (", .." if len(tables) > 3 else "")
        raise BackupError(
            f"the database {url.database} is not empty (it has the tables {names}): name an empty one in "
            "MCN_DATABASE_URL, or drop and create it"
        )


def load_postgres(settings: Settings, file: Path) -> None:
    """Restores a dump into the empty database: all of it, or nothing."""
    options = ("--no-owner", "--no-acl", "--exit-on-error", "--single-transaction")
    _run("pg_restore", *options, str(file), url=make_url(settings.sqlalchemy_url))


def _run(program: str, *options: str, url: URL) -> None:
    # Other users can see the arguments of a process.
    address = url.set(drivername="postgresql", password=None).render_as_string()
    password = {"PGPASSWORD": url.password} if url.password else {}
    command = [_program(program), "--no-password", f"--dbname={address}", *options]
    done = subprocess.run(
        command, env=os.environ | password, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())[:300] or f"exit code {done.returncode}"
        raise BackupError(f"{program} failed: {reason}")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BackupError(
            f"{name} is not installed: install the client programs of PostgreSQL, on Debian and Ubuntu with "
            "`apt-get install postgresql-client`, of the server's version or a newer one"
        )
    return path


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
