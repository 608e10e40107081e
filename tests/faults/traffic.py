"""Many clients that use the API all the time, and how long they wait."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.faults.client import Answer, Client, Record
from tests.faults.stack import Stack
from tests.faults.workload import SPECS

LISTS = ("/jobs?limit=20", "/jobs?state=running", "/jobs/counts", "/cluster")
PAUSE_S = 0.1


class Visitor(threading.Thread):
    """A client that submits a job, looks at lists, cancels the job, and begins again."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._chance = chance
        self._body = json.dumps(SPECS["short"]).encode()
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            job = self._send("POST", "/jobs", self._body).job
            for _ in range(self._chance.randint(1, 3)):
                self._send("GET", self._chance.choice(LISTS))
            if job is not None:
                # Otherwise the queue would grow to thousands of jobs.
                self._send("POST", f"/jobs/{job['id']}/cancel")
        self._client.close()

    def _send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        self.is_over.wait(self._chance.uniform(0.0, 2 * PAUSE_S))
        return self._client.send(method, path, body=body)


@contextmanager
def traffic(stack: Stack, seed: str, num_clients: int) -> Iterator[Record]:
    """Clients that use the API until the context ends; gives what they are answered meanwhile."""
    record = Record()
    clients = [Client(stack, record, f"{seed}-{number}") for number in range(num_clients)]
    visitors = [Visitor(client, random.Random(f"{seed}-{number}")) for number, client in enumerate(clients)]
    for visitor in visitors:
        visitor.start()
    try:
        yield record
    finally:
        for visitor in visitors:
            visitor.is_over.set()
        for visitor in visitors:
            with suppress(RuntimeError):
                visitor.join(60.0)
