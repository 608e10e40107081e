"""A client of the application for tests, and event logs as a training process writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.db import transaction
from app.jobs.capacity import Capacity
from app.jobs.transitions import transition
from app.models import State
from app.settings import Settings
from core.run.environment import device_keys
from worker.context import WorkerContext
from worker.executors.base import Executor
from worker.executors.local import LocalExecutor

EXPERT = {"kind": "expert", "name": "one", "expert": {"arch": "convnet_small"}, "tags": ["a"]}
FUSION = {"kind": "fusion", "experts": [{"arch": "convnet_small"}], "num_experts": 2}


@dataclass
class Service:
    """An application with a token for each user."""

    settings: Settings
    app: FastAPI
    http: TestClient
    tokens: dict[str, str]

    def call(self, method: str, path: str, user: str | None = "admin", **options: Any) -> Any:
        headers = dict(options.pop("headers", {}))
        if user is not None:
            headers["Authorization"] = f"Bearer {self.tokens[user]}"
        return self.http.request(method, path, headers=headers, **options)

    def get(self, path: str, user: str | None = "admin", **options: Any) -> Any:
        return self.call("GET", path, user, **options)

    def post(self, path: str, body: Any = None, user: str | None = "admin", **options: Any) -> Any:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.call("POST", path, user, content=content, headers=headers, **options)

    def submit(self, spec: dict[str, Any] = EXPERT, user: str = "admin") -> str:
        answer = self.post("/jobs", spec, user)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def transition(self, job_id: str, *states: State, **columns: Any) -> None:
        """Moves a job through states as a worker would, and sets columns of its row.

        A job that succeeds has run on this machine's CPU, unless `device_key` says otherwise.
        """
        for state in states:
            device = {"device_key": device_keys(cpu_only=True)["cpu"][0]} if state is State.succeeded else {}
            with transaction(self.app.state.engine) as session:
                assert transition(session, job_id, state, **device | columns), state

    @cached_property
    def context(self) -> WorkerContext:
        capacity = Capacity(("cpu",), 2, 8.0)
        executors: dict[str, Executor] = {"local": LocalExecutor("here", capacity)}
        return WorkerContext(self.settings, self.app.state.engine, "here", capacity, executors)


class EventFile:
    """An event log as a training process writes it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._seq = 0

    def add(self, kind: str, data: dict[str, Any]) -> None:
        self._seq += 1
        event = {"seq": self._seq, "time": datetime.now(UTC).isoformat(), "kind": kind, "data": data}
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def metrics(self, step: int, **values: float | None) -> None:
        self.add("metrics", {"step": step, "values": {key.replace("__", "/"): value for key, value in values.items()}})
