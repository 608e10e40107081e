"""What Slurm has: version, partitions and limits."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from worker.executors.slurm.queue_commands import UnreachableError, run

log = logging.getLogger(__name__)
REFRESH_INTERVAL_S = 30.0
DEFAULT_ARRAY_SIZE = 1001


@dataclass
class Cluster:
    """A view of the cluster, refreshed now and then. The last view stays while Slurm does not answer."""

    version: str = ""
    max_array_size: int = DEFAULT_ARRAY_SIZE
    partitions: list[dict[str, Any]] = field(default_factory=list)
    reachable: bool = False
    # Whether Slurm has answered yet.
    known: bool = False
    signals_on_preemption: bool = False
    # The last error, so that it is logged once.
    _last_error: str = field(default="", repr=False)
    _refreshed_at: float = field(default=float("-inf"), repr=False)

    def refresh(self) -> None:
        """Refreshes an old view on another thread: the commands take seconds while no controller answers."""
        if time.monotonic() - self._refreshed_at < REFRESH_INTERVAL_S:
            return
        self._refreshed_at = time.monotonic()
        threading.Thread(target=self.poll, name="slurm", daemon=True).start()

    def poll(self) -> None:
        """Refreshes the view now."""
        try:
            self.partitions = _partitions(run(["sinfo", "--noheader", "--format=%P|%a|%l|%D|%t|%G"]))
            self._configure(run(["scontrol", "show", "config"]))
            self.reachable = self.known = True
            self._last_error = ""
        except UnreachableError as error:
            self.reachable = False
            if str(error) != self._last_error:
                self._last_error = str(error)
                log.warning("Slurm does not answer: %s", error)

    def _configure(self, config: str) -> None:
        values = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", config, re.MULTILINE))
        self.version = values.get("SLURM_VERSION", "")
        size = values.get("MaxArraySize", "")
        self.max_array_size = int(size) if size.isdigit() and int(size) > 1 else DEFAULT_ARRAY_SIZE
        self.signals_on_preemption = "preempt_send_user_signal" in values.get("SlurmctldParameters", "")

    def gpus(self, slurm: dict[str, Any]) -> int:
        """The default of `gpus`, per node: one if the partition has any, unless `gres` requests them."""
        if slurm["gres"]:
            return 0
        name = slurm["partition"]
        rows = [row for row in self.partitions if row["name"] == name or (name is None and row["default"])]
        return int(any("gpu" in gres for row in rows for gres in row["gres"]))

    def to_json(self) -> dict[str, Any]:
        """The view as `GET /cluster` shows it."""
        return {
            "version": self.version,
            "reachable": self.reachable,
            "max_array_size": self.max_array_size,
            "partitions": self.partitions,
        }


def find_cluster() -> Cluster | None:
    """The cluster that this machine submits to; None if Slurm's commands are not installed."""
    return Cluster() if shutil.which("sbatch") and shutil.which("squeue") else None


def _partitions(text: str) -> list[dict[str, Any]]:
    partitions: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 6 or not parts[3].isdigit():
            continue
        name, up, limit, nodes, state, gres = parts
        row = partitions.setdefault(
            name.rstrip("*"),
            {"name": name.rstrip("*"), "default": name.endswith("*"), "up": up == "up", "time_limit": limit}
            | {"nodes": {}, "gres": []},
        )
        # Suffixes: `idle*` does not answer, `drain$` is reserved for maintenance.
        base_state = state.rstrip("*~#!%$@^-+") or "unknown"
        row["nodes"][base_state] = row["nodes"].get(base_state, 0) + int(nodes)
        row["gres"] = sorted({*row["gres"], *(() if gres in ("(null)", "") else (gres,))})
    return list(partitions.values())
