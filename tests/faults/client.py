"""A client that uses the service while faults happen, and remembers every answer that it was given."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.stack import Stack
from tests.faults.workload import SPECS

# A request that got no answer in this time counts as not answered; the service promises answers much sooner.
REQUEST_LIMIT_S = 40.0
RETRY_PAUSE_S = 0.1
PAUSE_S, BURST_PAUSE_S = 0.1, 0.005
CONTROLS = ("cancel", "pause", "resume")


@dataclass(frozen=True)
class Answer:
    """What came back for one request. `status` is 0 if nothing did; `job` is the job that the answer shows."""

    method: str
    path: str
    status: int
    waited_s: float
    # By the monotonic clock, when the answer came.
    at: float
    key: str | None = None
    job: dict[str, Any] | None = None
    text: str = ""


@dataclass
class Record:
    """Everything that one round's clients were answered."""

    answers: list[Answer] = field(default_factory=list)
    # By idempotency key, the name of the job's specification.
    keys: dict[str, str] = field(default_factory=dict)

    def created(self) -> dict[str, set[str]]:
        """By idempotency key, the ids of the jobs that were acknowledged for it."""
        ids: dict[str, set[str]] = {}
        for answer in self.answers:
            if answer.key is not None and answer.status in (200, 201) and answer.job:
                ids.setdefault(answer.key, set()).add(answer.job["id"])
        return ids

    def spec_of(self, job_id: str) -> str | None:
        """The name of a job's specification; None if no answer acknowledged the job."""
        return next((self.keys[key] for key, ids in self.created().items() if job_id in ids), None)

    @property
    def num_refused(self) -> int:
        """How many requests got no answer, or one that the service is not available."""
        return sum(answer.status in (0, 503) for answer in self.answers)

    @property
    def longest_wait_s(self) -> float:
        """How long the slowest request took."""
        return max((answer.waited_s for answer in self.answers), default=0.0)


class Client:
    """Sends requests one at a time; never raises on an answer or on none."""

    def __init__(self, stack: Stack, record: Record, prefix: str) -> None:
        self.record = record
        self._prefix = prefix
        token = (stack.settings.data_dir / "admin-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._http = httpx.Client(base_url=stack.settings.api_url, headers=headers, timeout=REQUEST_LIMIT_S)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, method: str, path: str, *, key: str | None = None, body: bytes | None = None) -> Answer:
        """Sends one request and records its answer."""
        began = time.monotonic()
        status, job, text = 0, None, ""
        try:
            headers = {"Idempotency-Key": key} if key else {}
            response = self._http.request(method, path, content=body, headers=headers)
            status, text = response.status_code, response.text[:500]
            is_json = response.headers.get("content-type", "").startswith("application/json")
            content = response.json() if response.is_success and is_json else None
            job = content if isinstance(content, dict) and "state" in content else None
        except (httpx.HTTPError, ValueError) as error:
            status, text = 0, f"{type(error).__name__}: {error}"
        at = time.monotonic()
        answer = Answer(method, path, status, at - began, at, key, job, text)
        self.record.answers.append(answer)
        return answer

    def submit(self, name: str, *, until: float, priority: int = 0) -> str | None:
        """Submits a job, again and again with one key until it is acknowledged; None if it was not in time."""
        key = f"{self._prefix}-{len(self.record.keys)}"
        self.record.keys[key] = name
        return self.submit_again(key, until=until, priority=priority)

    def submit_again(self, key: str, *, until: float, priority: int = 0) -> str | None:
        """Repeats a submission."""
        body = json.dumps(SPECS[self.record.keys[key]] | ({"priority": priority} if priority else {})).encode()
        while True:
            answer = self.send("POST", "/jobs", key=key, body=body)
            if answer.status in (200, 201) and answer.job is not None:
                return str(answer.job["id"])
            # Only these may be repeated; every other answer is a defect that the checker reports.
            if answer.status not in (0, 503) or time.monotonic() > until:
                return None
            time.sleep(RETRY_PAUSE_S)


class Session(threading.Thread):
    """A client that submits jobs, changes some of them, and then keeps asking until it is told to stop."""

    def __init__(
        self,
        client: Client,
        chance: random.Random,
        jobs: list[str],
        *,
        is_burst: bool,
        controls: float,
        until: float,
    ) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._chance = chance
        self._jobs = jobs
        self._pause_s = BURST_PAUSE_S if is_burst else PAUSE_S
        self._num_early = len(jobs) if is_burst else (len(jobs) + 1) // 2
        self._controls = controls
        self._until = until
        self._ids: list[str] = []
        self.is_submitting = True
        # Set when a fault has been caused: only then the rest of the jobs is submitted.
        self.go_on = threading.Event()
        self.is_over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for number, name in enumerate(self._jobs):
                while number >= self._num_early and not self.go_on.is_set():
                    self._step(self._ask)
                self._step(lambda name=name: self._submit(name))  # type: ignore[misc]
            self.is_submitting = False
            while not self.is_over.is_set():
                self._step(self._ask)
        except BaseException as error:
            self.error = error
        finally:
            self.is_submitting = False
            self._client.close()

    def _step(self, action: Callable[[], object]) -> None:
        action()
        if self._ids and self._chance.random() < self._controls:
            verb = self._chance.choice(CONTROLS)
            self._client.send("POST", f"/jobs/{self._chance.choice(self._ids)}/{verb}")
        self.is_over.wait(self._chance.uniform(0.0, 2 * self._pause_s))

    def _submit(self, name: str) -> None:
        job_id = self._client.submit(name, until=self._until)
        if job_id is not None:
            self._ids.append(job_id)
        if self._chance.random() < 0.3:
            self._client.submit_again(self._chance.choice(list(self._client.record.keys)), until=self._until)

    def _ask(self) -> None:
        paths = ["/jobs?limit=5", "/jobs/counts", "/cluster", *(f"/jobs/{job_id}" for job_id in self._ids)]
        self._client.send("GET", self._chance.choice(paths))
        # Not faster than a person with a dashboard.
        self.is_over.wait(0.1)
