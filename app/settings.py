"""All settings, read once from environment variables with the prefix MCN_."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# The host of an IPv6 address is in brackets.
_URL = r"https?://([^/\s@?#]+@)?(\[[0-9A-Fa-f:.]+\]|[^/\s@:\[\]?#]+)(:\d{1,5})?(/[^\s?#]*)?"


# Those of `app.models.State`, which this module may not import.
WebhookState = Literal[
    "waiting",
    "queued",
    "starting",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
]
MIN_SECRET_LENGTH = 16


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


class Settings(BaseSettings):
    """Settings of service and command line; the descriptions of the fields are a table in the documentation."""

    # An empty variable is one that is not set: `MCN_DATA_DIR=$FOLDER` without FOLDER must not mean this folder.
    model_config = SettingsConfigDict(
        env_prefix="MCN_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/share/mcn",
        description="runs, database, tokens, logs, broker; default: `~/.local/share/mcn`",
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
        description="folders, separated by `:`, that dataset paths may point into; default: `data` in the data folder",
    )
    host: str = Field(default="127.0.0.1", description="address that the API listens on; default: `127.0.0.1`")
    port: int = Field(default=8000, ge=1, le=65535, description="port that the API listens on; default: `8000`")
    devices: str | None = Field(
        default=None,
        description="devices that this machine trains on, such as `0,1` or `cpu`; default: all GPUs, else one CPU slot",
    )
    worker_name: str | None = Field(
        default=None,
        description="name of this machine's worker, which no other worker may have: running jobs belong to the worker "
        "of that name; default: the host name",
    )
    token: str | None = Field(
        default=None,
        description="token of the command line; default: that in the file `admin-token`, if readable",
    )
    url: str | None = Field(
        default=None, description="address of the API for the command line; default: `http://HOST:PORT`"
    )
    public_url: str | None = Field(
        default=None,
        description="address at which browsers reach the dashboard, such as `https://mcn.example.org`, if it is not "
        "`http://HOST:PORT`; with https, cookies are sent over https only",
    )
    grace_s: float = Field(
        default=60.0,
        gt=0,
        description="seconds that a paused job has to write its checkpoint before it is killed; default: `60`",
    )
    reconcile_s: float = Field(
        default=5.0, gt=0, description="seconds between two runs of the reconciler; default: `5`"
    )
    worker_lost_min: float = Field(
        default=5.0,
        gt=0,
        description="minutes without a sign of life of a worker and of a training process there, after which other "
        "workers take over the job; default: `5`",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="form of the logs of API and worker: lines to read (`console`) or JSON objects; default: `console`",
    )
    log_level: Literal["warning", "info"] = Field(
        default="warning",
        description="`info` also logs every request and every start and end of an attempt; default: `warning`",
    )
    tracing: bool = Field(
        default=False,
        description="`1` sends traces of requests by OpenTelemetry to the address in `OTEL_EXPORTER_OTLP_ENDPOINT`; "
        "default: `0`",
    )
    warm_start: bool = Field(
        default=True,
        description="whether training processes on this machine are forked from one that has imported everything; "
        "`0` starts each one cold",
    )
    min_free_gb: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="gigabytes (10^9 bytes) that must be free in the data folder for a job to start; `0` switches this "
        "off; default: `5`, or 2 % of the disk if that is less",
    )
    slurm_time_limit_min: int | None = Field(
        default=None,
        ge=1,
        description="time limit in minutes of Slurm jobs that request none; default: a request is required",
    )

    webhook_url: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="address, or several separated by commas, to which changes of state of jobs are sent, such as "
        "`https://hooks.example.org/mcn`; the same for the API and all workers; default: none",
    )
    webhook_secret: str | None = Field(
        default=None,
        validate_default=True,
        description="secret of at least 16 characters by which receivers verify who sent a webhook; required with "
        "`MCN_WEBHOOK_URL`",
    )
    webhook_states: Annotated[tuple[WebhookState, ...], NoDecode] = Field(
        default=("succeeded", "failed", "cancelled"),
        description="states, separated by commas, whose beginning is sent; default: `succeeded,failed,cancelled`",
    )
    webhook_alerts: bool = Field(
        default=True, description="whether alerts that training raises are sent to `MCN_WEBHOOK_URL` too; default: `1`"
    )

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return tuple(Path(part) for part in value.split(os.pathsep) if part) if isinstance(value, str) else value

    @field_validator("webhook_url", "webhook_states", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook_url(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for number, url in enumerate(value, 1):
            # Without the address, which may be secret.
            if not re.fullmatch(_URL, url) or not _has_valid_port(url):
                raise ValueError(f"address {number} is not valid: use one such as https://hooks.example.org/mcn")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("webhook_url"):
            raise ValueError("required with MCN_WEBHOOK_URL: set one, for example from `openssl rand -hex 32`")
        if value is not None and len(value) < MIN_SECRET_LENGTH:
            problem = f"it has {len(value)} characters, and needs at least {MIN_SECRET_LENGTH}"
            raise ValueError(f"{problem}: set one, for example from `openssl rand -hex 32`")
        return value

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgresql+psycopg://", "sqlite:///")):
            raise ValueError("use postgresql://user@host/name or sqlite:///file")
        return value

    @field_validator("url", "public_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(_URL, value):
            raise ValueError("use an address such as http://127.0.0.1:8000, without ? or #")
        return value

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(\d+|cpu(:\d+)?)(,(\d+|cpu(:\d+)?))*", value.replace(" ", "")):
            raise ValueError("use GPU numbers or CPU slots, such as 0,1 or cpu:0,cpu:1")
        return value

    @field_validator("worker_name")
    @classmethod
    def _check_worker_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", value):
            raise ValueError("use letters, digits, dots, hyphens and underscores, such as node-1; at most 253")
        return value

    @property
    def worker_host(self) -> str:
        """The name under which the worker of this machine is recorded."""
        return self.worker_name or socket.gethostname()

    @property
    def sqlalchemy_url(self) -> str:
        """The database URL with the driver that SQLAlchemy is to use."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'mcn.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1) if url.startswith("postgresql://") else url

    @property
    def runs_dir(self) -> Path:
        """The parent of all run directories, one per job."""
        return self.data_dir / "runs"

    @property
    def slurm_dir(self) -> Path:
        """The parent of the folders, one per submission, that hold Slurm scripts and their output."""
        return self.data_dir / "slurm"

    @property
    def content_cache(self) -> Path:
        """The folder of the digests of datasets, which service and training processes share."""
        return self.data_dir / "content"

    @property
    def no_new_starts(self) -> Path:
        """A marker file: while it exists, the worker starts no job, because the service is shutting down."""
        return self.data_dir / "no-new-starts"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that are searched for datasets."""
        return self.data_roots or (self.data_dir / "data",)

    @property
    def api_url(self) -> str:
        """The address at which a client on this machine reaches the API, without a trailing slash."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def browser_url(self) -> str:
        """The address of the dashboard for a browser, without a trailing slash."""
        return (self.public_url or self.api_url).rstrip("/")

    @property
    def has_https(self) -> bool:
        """Whether browsers reach the dashboard over HTTPS."""
        return (self.public_url or "").startswith("https://")

    def make_folders(self) -> None:
        """Create the data folder and its subfolders, readable by their owner alone.

        The process gets the umask 077, so that its files and those of its children are private too. A data folder
        that other users can enter is tightened to mode 700; PermissionError if it belongs to somebody else, is a
        shared folder such as /tmp, or holds files of something else.
        """
        os.umask(0o077)
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = self.data_dir.stat()
        if status.st_mode & 0o077:
            if status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX:
                raise PermissionError(errno.EPERM, "other users can read it and it is not yours alone", self.data_dir)
            if any(self.data_dir.iterdir()) and not self.runs_dir.is_dir():
                reason = "other users can read it and it holds files of something else, so its mode is left as it is"
                raise PermissionError(errno.EPERM, reason, self.data_dir)
            self.data_dir.chmod(0o700)
        for folder in (self.runs_dir, self.data_dir / "data", self.data_dir / "broker"):
            folder.mkdir(exist_ok=True)
