"""Whether the worker of this machine is alive: `mcn doctor --worker`.

`python -m app.cli.worker_health` is the same as a container's health check: it runs every few seconds beside training,
and loads no more than it needs.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import psutil
from sqlalchemy.exc import SQLAlchemyError

from app.db import database_time, iso, make_engine, reading
from app.models import WORKER_TIMEOUT, Worker
from app.settings import Settings


def check_worker(settings: Settings, host: str) -> tuple[str, bool, str]:
    """What is checked, whether the worker of a host is alive by its heartbeat in the database, and what was seen.

    A heartbeat from before process 1 started is that of an earlier container with the same name.
    """
    name = f"worker {host}"
    try:
        with reading(make_engine(settings.sqlalchemy_url)) as session:
            worker = session.get(Worker, host)
            at = database_time(session)
    except (SQLAlchemyError, OSError) as error:
        without_password = settings.sqlalchemy_url.rpartition("@")[2]
        return name, False, f"{without_password}: {str(error).splitlines()[0][:120]}"
    if worker is None:
        return name, False, "it has never reported: start it, and read its log if that does not help"
    # Two durations: the clocks of the database and of this machine may differ.
    running_for = timedelta(seconds=time.time() - psutil.Process(1).create_time())
    is_alive = at - worker.seen_at < min(WORKER_TIMEOUT, running_for)
    advice = "" if is_alive else ": start it, and read its log if that does not help"
    return name, not advice, f"reported last at {iso(worker.seen_at)}{advice}"


if __name__ == "__main__":
    settings = Settings()
    name, is_alive, detail = check_worker(settings, settings.worker_host)
    print(f"{name}: {detail}")
    sys.exit(not is_alive)
