"""The warm starter: a process that has imported everything and forks training processes on request.

`python -m worker.training.warm SOCKET`. It listens on a Unix socket of its user, holds no threads and no CUDA context,
and exits after ten idle minutes. Losing it loses no job: processes that it has forked do not depend on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from core.run.rundir import RunDir
from worker.training.fork import ThreadsError, fork_attempt
from worker.training.preload import preload

IDLE_LIMIT_S = 600.0
REQUEST_LIMIT_S = 5.0
MAX_REQUEST_BYTES = 1 << 20
# Tells the starter to exit; processes that it has forked keep running.
EXIT_REQUEST = "exit"


class ForkServer:
    """Serves one request per connection: a JSON line with run directory, attempt and environment.

    The answer is a JSON line with the pid of the forked process, or with an error.
    """

    def __init__(self, path: Path, idle_limit_s: float = IDLE_LIMIT_S) -> None:
        self._path = path
        self._idle_limit_s = idle_limit_s
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A signal interrupts the wait for requests: an ended child is then reaped at once.
        self._wakeup, write_end = socket.socketpair()
        self._wakeup.setblocking(False)
        write_end.setblocking(False)
        self._write_end = write_end

    def run(self) -> int:
        """Serves until it has been idle for too long or is told to stop."""
        signal.set_wakeup_fd(self._write_end.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        preload()
        self._listen()
        selector = selectors.DefaultSelector()
        selector.register(self._server, selectors.EVENT_READ)
        selector.register(self._wakeup, selectors.EVENT_READ)
        idle_since = time.monotonic()
        try:
            while time.monotonic() - idle_since < self._idle_limit_s and self._is_current():
                for key, _ in selector.select(timeout=min(10.0, self._idle_limit_s)):
                    if key.fileobj is self._server:
                        idle_since = time.monotonic()
                        self._serve()
                    else:
                        self._drain()
                _reap()
        except ThreadsError as error:
            print(f"the warm starter exits: {error}", file=sys.stderr, flush=True)
        finally:
            if self._is_current():
                self._path.unlink(missing_ok=True)
        return 0

    def _listen(self) -> None:
        """Takes over the address by one rename, so that clients always reach a starter: the old one or this one."""
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        self._server.bind(str(temporary))
        self._server.listen(16)
        os.rename(temporary, self._path)
        self._inode = self._path.stat().st_ino

    def _is_current(self) -> bool:
        """Whether the address still leads here; another starter may have taken it over, or the data folder is gone."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(REQUEST_LIMIT_S)
            try:
                request = json.loads(_read_line(connection))
                if request == EXIT_REQUEST:
                    self._path.unlink(missing_ok=True)
                    return
                attempt = RunDir(Path(request["run_dir"])).attempt(request["attempt"])
                environment = dict(request["environment"])
            except (OSError, ValueError, KeyError, TypeError):
                return
            answer: dict[str, int | str]
            try:
                answer = {"pid": fork_attempt(attempt, environment, log=attempt.log)}
            except OSError as error:
                answer = {"error": str(error)}
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wakeup.recv(4096):
                pass


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        block = connection.recv(65_536)
        if not block or len(line) > MAX_REQUEST_BYTES:
            raise ValueError("not a request")
        line += block
    return line


def _reap() -> None:
    """Collects the exit codes of forked processes that have ended, so that they do not stay as zombies."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> int:
    """Serves on the socket that the command line names."""
    idle_limit_s = float(os.environ.get("WARM_IDLE_LIMIT_S", IDLE_LIMIT_S))
    return ForkServer(Path(sys.argv[1]), idle_limit_s).run()


if __name__ == "__main__":
    sys.exit(main())
