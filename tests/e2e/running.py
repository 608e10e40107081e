"""A service started with `mcn up` in a folder of its own, and ways to kill its processes."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.cli.client import TERMINAL_STATES, Api
from app.settings import Settings
from tests.parts import free_port, pause_s, wait_until
from tests.training_processes import training_processes

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
SPLIT = {"regime": "iid", "num_shards": 4, "holdout": 0.1, "seed": 1}


def expert(**training: Any) -> dict[str, Any]:
    return {
        "kind": "expert",
        "expert": {"arch": "convnet_small"},
        "dataset": {"name": "digits", "split": SPLIT},
        "training": {"epochs": 2, "batch_size": 64, **training},
        "resources": {"cpus": 1},
    }


def fusion(**training: Any) -> dict[str, Any]:
    """Two small experts with MixUp, accumulation and warm restarts; a step takes some milliseconds."""
    return {
        "kind": "fusion",
        "experts": [{"arch": "convnet_small", "feature_dim": 16}],
        "num_experts": 2,
        "dataset": {"name": "digits", "split": SPLIT},
        "training": {"epochs": 30, "batch_size": 32, **training},
        "resources": {"cpus": 1},
        "checkpoint": {"every_steps": 3},
    }


def expert_of_many_steps() -> dict[str, Any]:
    return expert(epochs=20, batch_size=32) | {"checkpoint": {"every_steps": 3}}


def _from_components(source: str, **fields: Any) -> dict[str, Any]:
    """A job on the experts and the fusion module of a fusion job."""
    return {
        "experts": [{"from": {"job": source, "component": f"expert_{k}"}} for k in range(2)],
        "fusion": {"from": {"job": source, "component": "fusion"}},
        "dataset": {"name": "digits", "split": SPLIT},
        "resources": {"cpus": 1},
        **fields,
    }


def head(source: str) -> dict[str, Any]:
    training = {"epochs": 40, "batch_size": 32}
    return _from_components(source, kind="head", training=training, checkpoint={"every_steps": 3})


def evaluate(source: str) -> dict[str, Any]:
    return _from_components(source, kind="evaluate", head={"from": {"job": source, "component": "head"}})


# A specification of each kind, given a fusion job whose components it may use.
KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "fusion": lambda _source: fusion(),
    "expert": lambda _source: expert_of_many_steps(),
    "head": head,
    "evaluate": evaluate,
}


@dataclass(frozen=True)
class Proof:
    """What two runs of one specification must have in common: component bits, logged steps and test results."""

    digests: dict[str, str]
    steps: list[int]
    results: dict[str, float]


class Running:
    """One service on this machine. It restarts its API and worker when they die."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        port = free_port()
        self.settings = Settings(data_dir=data_dir, port=port)
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("MCN_")} | {
            "MCN_DATA_DIR": str(data_dir),
            "MCN_PORT": str(port),
            "MCN_RECONCILE_S": "1",
            # Tests must not wait because the disk of this machine is nearly full.
            "MCN_MIN_FREE_GB": "0",
            **environment,
        }
        self._process: subprocess.Popen[str] | None = None
        self._api: Api | None = None
        self._source: str | None = None

    @property
    def api(self) -> Api:
        if self._api is None:
            self._api = Api(self.settings)
        return self._api

    def start(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "up", *options],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(self._ready, "start of the service", 240.0)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._process.communicate()[0]
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.settings.api_url}/readyz").status_code == 200
        return False

    def stop(self) -> str:
        assert self._process is not None
        self._close()
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=120)
        return str(out)

    def _close(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None

    def in_terminal(self, *arguments: str, columns: int) -> subprocess.CompletedProcess[str]:
        """`mcn` in a pseudo-terminal of this width."""
        command = shlex.join([sys.executable, "-m", "app.cli.main", *arguments])
        return subprocess.run(
            ["script", "-qec", f"stty cols {columns}; {command}", "/dev/null"],
            # A width in the environment would take precedence over the terminal's.
            env=self._environment | {"COLUMNS": str(columns), "TERM": "xterm-256color"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`mcn` with its output in pipes."""
        command = [sys.executable, "-m", "app.cli.main", *arguments]
        return subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, input=stdin)

    def pid(self, part: str) -> int | None:
        """The process id of the API or the worker; None while it is not running."""
        assert self._process is not None
        mark = {"api": "app.main:create_app", "worker": "worker.app"}[part]
        for process in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):
                if mark in process.cmdline():
                    return int(process.pid)
        return None

    def kill(self, part: str) -> None:
        """Sends SIGKILL to the API or the worker if it is running."""
        pid = self.pid(part)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def kill_everything(self) -> None:
        """Sends SIGKILL to the service and to its training processes."""
        assert self._process is not None
        parts = psutil.Process(self._process.pid).children(recursive=True)
        self._close()
        self._process.kill()
        for process in [*parts, *self.training()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.communicate()

    def training(self) -> list[psutil.Process]:
        """The training processes of this service."""
        return training_processes(self.settings.data_dir)

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.api.get(f"/jobs/{job_id}"))

    def submit(self, spec: dict[str, Any]) -> str:
        return str(self.api.post("/jobs", spec)["id"])

    def spec(self, kind: str) -> dict[str, Any]:
        """A specification of a kind; the components that it uses are trained first."""
        if self._source is None and kind in ("head", "evaluate"):
            self._source = self.submit(fusion(epochs=2))
            assert self.wait(self._source)["state"] == "succeeded"
        return KINDS[kind](self._source or "")

    def wait(self, job_id: str, *states: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Waits until a job is in one of these states, by default in a terminal state."""
        start = time.monotonic()
        job: dict[str, Any] = {"state": "unknown"}
        while True:
            with contextlib.suppress(Exception):  # the API may be restarting
                job = self.job(job_id)
            if job["state"] in (states or TERMINAL_STATES):
                return job
            ended = job["state"] in TERMINAL_STATES
            assert not ended, f"the job is {job['state']}: {job['message']}"
            waited = time.monotonic() - start
            assert waited < limit_s, f"the job is still {job['state']} after {limit_s} s: {job.get('message')}"
            time.sleep(pause_s(waited))

    def wait_step(self, job_id: str, step: int) -> dict[str, Any]:
        """Waits until a job has logged a step, or ended."""

        def is_there() -> bool:
            job = self.job(job_id)
            latest = self.api.get(f"/jobs/{job_id}/metrics")["latest"].get("train/loss_total", {"step": 0})
            return latest["step"] >= step or job["state"] in TERMINAL_STATES

        wait_until(is_there, f"step {step}", LIMIT_S)
        return self.job(job_id)

    def digests(self, job_id: str) -> dict[str, str]:
        """The SHA-256 of each component of a job."""
        items = self.api.get(f"/jobs/{job_id}/components")["items"]
        return {item["name"]: item["formats"]["safetensors"]["sha256"] for item in items}

    def proof(self, job_id: str) -> Proof:
        """What another run of the same specification must reproduce."""
        job = self.job(job_id)
        keys = self.api.get(f"/jobs/{job_id}/metrics")["keys"]
        steps: list[int] = []
        if "train/loss_total" in keys:
            answer = self.api.get(f"/jobs/{job_id}/metrics/series", key="train/loss_total", points=10_000)
            steps = answer["series"][0]["steps"]
        results = {key: value for key, value in job["metrics"].items() if key.startswith("test/")}
        return Proof(self.digests(job_id), steps, results)


def once(check: Callable[[], bool], what: str, limit_s: float = 120.0) -> None:
    """Waits for a condition; fails after `limit_s` and names `what` did not happen."""
    wait_until(check, what, limit_s)
