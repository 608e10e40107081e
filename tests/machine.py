"""The real parts that tests use: which are here, and how to bring the others. `python -m tests.machine` brings them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# A part by its programs, and the Debian packages that have them.
PARTS = {
    "PostgreSQL": ("initdb", "postgresql"),
    "Redis": ("redis-server", "redis-server"),
    "curl": ("curl", "curl"),
    "Chromium": ("chromium", "chromium"),
    "Node.js": ("node", "nodejs"),
    "faketime": ("faketime", "faketime"),
    "systemd": ("systemd-analyze", "systemd"),
    "Slurm": ("slurmctld slurmd slurmdbd munged mariadbd srun", "slurm-wlm slurmdbd munge mariadb-server"),
}


def find(program: str) -> str | None:
    """A program on the path, or where Debian keeps daemons and PostgreSQL's programs."""
    # Not every user's path has the daemons.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found:
        return found
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(versions[-1]) if versions else None


def missing() -> dict[str, str]:
    """Parts that are not here, with their packages."""
    return {name: packages for name, (programs, packages) in PARTS.items() if not all(map(find, programs.split()))}


def main() -> int:
    """As root on Debian or Ubuntu, installs what is missing; elsewhere says what will be skipped."""
    wanted = missing()
    if not wanted:
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"Not here: {', '.join(wanted)}; the tests that need them are skipped.")
        return 0
    print(f"Installing {', '.join(wanted)} for the tests ...", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    packages = " ".join(wanted.values()).split()
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
            return 1 if os.environ.get("CI") == "true" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
