"""Every setting, read once from the environment (prefix MCN_)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """What the service is told from outside; the description of a field is its row in the documentation."""

    model_config = SettingsConfigDict(env_prefix="MCN_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/share/mcn", description="runs, database, tokens, broker"
    )
    database_url: str | None = Field(
        default=None,
        description="`postgresql://user@host/name`, or `sqlite:///file`; default: SQLite in the data folder",
    )
    broker_url: str | None = Field(
        default=None, description="`redis://host:6379/0`; default: embedded, in the data folder"
    )
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="folders, separated by `:`, that data set paths may point into; default: `data` in the data folder",
    )
    host: str = Field(default="127.0.0.1", description="address that the API listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="port that the API listens on")
    devices: str | None = Field(
        default=None,
        description="what this machine trains on, such as `0,1` or `cpu`; default: all GPUs, else one CPU slot",
    )
    token: str | None = Field(
        default=None, description="token of the command line; default: the file `admin-token`, if readable"
    )
    url: str | None = Field(
        default=None, description="where the command line finds the API; default: `http://HOST:PORT`"
    )
    grace_s: float = Field(
        default=60.0, gt=0, description="seconds that a paused job has to write its checkpoint before it is killed"
    )
    reconcile_s: float = Field(default=5.0, gt=0, description="seconds between two rounds of the reconciler")

    warm_start: bool = Field(
        default=True,
        description="whether training processes on this machine are forked from one that has imported everything; "
        "`0` starts each one cold",
    )
    slurm_time_limit_min: int | None = Field(
        default=None,
        ge=1,
        description="minutes that a Slurm job gets which asks for no time limit; default: it must ask",
    )

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(Path(part) for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgresql+psycopg://", "sqlite:///")):
            raise ValueError("give postgresql://user@host/name or sqlite:///file")
        return value

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
            raise ValueError("give an address such as http://127.0.0.1:8000")
        return value

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(\d+|cpu(:\d+)?)(,(\d+|cpu(:\d+)?))*", value.replace(" ", "")):
            raise ValueError("give GPU numbers or CPU slots, such as 0,1 or cpu:0,cpu:1")
        return value

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address as SQLAlchemy wants it."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'mcn.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1) if url.startswith("postgresql://") else url

    @property
    def runs_dir(self) -> Path:
        """One folder a job."""
        return self.data_dir / "runs"

    @property
    def slurm_dir(self) -> Path:
        """Scripts that were given to Slurm and what it wrote about them, a folder a submission."""
        return self.data_dir / "slurm"

    @property
    def no_new_starts(self) -> Path:
        """While this file is there, the worker starts nothing: the service is about to end."""
        return self.data_dir / "no-new-starts"

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where data sets are looked for."""
        return self.data_roots or (self.data_dir / "data",)

    @property
    def api_url(self) -> str:
        """Where a client on this machine finds the API."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    def make_folders(self) -> None:
        """Makes the data folder, for its owner alone."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.runs_dir, self.data_dir / "data", self.data_dir / "broker"):
            folder.mkdir(exist_ok=True)
