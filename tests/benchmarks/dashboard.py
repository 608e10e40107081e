"""The dashboard with 100,000 jobs, among them one with 10 million metric points: server times, and what browsers do."""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.routing import APIRoute

from app.auth.sessions import COOKIE
from app.settings import Settings
from app.supervisor.up import commands, is_ready
from app.web.pages import ROUTERS
from tests.benchmarks import dashboard_browser
from tests.benchmarks.dashboard_data import Data, fill
from tests.benchmarks.measures import Row, median_s, row
from tests.e2e.running import ROOT
from tests.parts import free_port, wait_until

REQUESTS = 15
LIMIT_S = 0.1
NUM_SLOWEST = 3
# Pages again with other parameters, by the path of their route.
VARIANTS = {
    "/ui/jobs": (
        "sort=-score",
        "q=no+such+text",
        "state=succeeded",
        "state=queued&sort=-priority",
        "sort=-priority",
        "sweep=none",
    ),
    "/ui/jobs/{job_id}/log": ("q=step+19",),
    "/ui/new": ("from={job_id}",),
    "/ui/components": ("q=no+such+text",),
}


# Pages that are measured with other jobs: comparisons get them in their queries, and the long job has not succeeded.
COMPARE, PAIR, REPORT = "/ui/compare", "/ui/compare/pair", "/ui/jobs/{job_id}/report"


def rows() -> list[Row]:
    """Every page's time on the server, then bytes, zoom and elements in Chromium."""
    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings(data_dir=Path(temporary) / "data", port=free_port())
        data = fill(settings)
        addresses = pages(data)
        with _api(settings):
            return [*_server_times(settings, data, addresses), *dashboard_browser.rows(settings, data, addresses)]


@contextmanager
def _api(settings: Settings) -> Iterator[None]:
    """The API without a worker, which would train the queued jobs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MCN_")}
    environment |= {"MCN_DATA_DIR": str(settings.data_dir), "MCN_PORT": str(settings.port)}
    server = subprocess.Popen(commands(settings)["api"], env=environment, cwd=ROOT)
    try:
        wait_until(lambda: is_ready(settings), "the start of the API")
        yield
    finally:
        server.terminate()
        server.wait(20)


def pages(data: Data) -> dict[str, str]:
    """The address of every page by its name in the table, which is the path of its route."""
    ids = {"job_id": data.long_job, "sweep_id": data.sweep}
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    paths = [route.path for route in routes if "GET" in (route.methods or ()) and route.path.startswith("/ui/")]
    # Those below /ui/- are parts of pages.
    names = [path for path in paths if not path.startswith("/ui/-/")]
    names += [f"{path}?{query}" for path in names for query in VARIANTS.get(path, ())]
    compared = "&".join(f"job={job}~{slot}" for slot, job in enumerate(data.compared))
    named = {name: name.format(**ids) for name in sorted(names) if name != COMPARE}
    named[REPORT] = REPORT.format(job_id=data.reported)
    named[PAIR] = f"{PAIR}?a={data.reported}&b={data.reported}:expert_0"
    return named | {f"{COMPARE} of {len(data.compared)} jobs": f"{COMPARE}?{compared}"}


def _server_times(settings: Settings, data: Data, addresses: dict[str, str]) -> list[Row]:
    """The median time of each page over one connection, compressed as a browser wants it."""
    connection = http.client.HTTPConnection(settings.host, settings.port)
    headers = {"Cookie": f"{COOKIE}={data.session}", "Accept-Encoding": "gzip"}

    def get(address: str) -> None:
        connection.request("GET", address, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (address, answer.status, body[:200])

    times: dict[str, float] = {}
    first_report = 0.0
    for name, address in addresses.items():
        # The first request loads the template, and computes what the service keeps of a report.
        started = time.perf_counter()
        get(address)
        if name == REPORT:
            first_report = time.perf_counter() - started
        times[name] = median_s(lambda address=address: get(address), REQUESTS)  # type: ignore[misc]
    connection.close()
    table = [
        row(f"server time of {name}", f"{1000 * seconds:.0f} ms", f"<= {1000 * LIMIT_S:.0f} ms", seconds <= LIMIT_S)
        for name, seconds in times.items()
    ]
    slowest = sorted(times, key=lambda name: -times[name])[:NUM_SLOWEST]
    table.append(row(f"the first time of {REPORT}", f"{first_report:.1f} s", "", True))
    return [*table, row("slowest pages", ", ".join(slowest), "", True)]
