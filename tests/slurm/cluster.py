"""A Slurm cluster with accounting, all of it on this machine and private to one folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.machine import find
from tests.parts import free_port, wait_until
from tests.slurm.configuration import CGROUP_CONF, DATABASE_SQL, GRES, NODE, SLURM_CONF, SLURMDBD_CONF

LIMIT_S = 240.0


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _processes(of: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if of(process):
                found.append(process)
    return found


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


class Cluster:
    """munge, MariaDB, slurmdbd, slurmctld, and slurmd for nodes n1, n2 ... with 2 CPUs, 8000 MB and a GPU each.

    Partition `low` is the default; its jobs are requeued for those of partition `high`, 10 to 20 s after a warning.
    The daemons end with the thread that started them, however it ends.
    """

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.nodes = [f"n{n}" for n in range(1, nodes + 1)]
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Slurm's commands talk to this cluster, also inside of another cluster's job."""
        outer = ("SLURM", "SBATCH", "SALLOC", "SQUEUE", "SACCT", "SINFO")
        rest = {key: value for key, value in os.environ.items() if not key.startswith(outer)}
        return rest | {"SLURM_CONF": str(self.conf)}

    def run(self, *words: str, limit_s: float = LIMIT_S) -> str:
        """What a command prints; CalledProcessError if it fails."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=limit_s)
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stderr)
            raise
        return done.stdout

    def jobs(self) -> list[str]:
        """The ids of the jobs that have not ended, oldest first."""
        return self.run("squeue", "--noheader", "--sort=i", "--format=%A").split()

    def nodes_in(self, *states: str) -> list[str]:
        """The nodes in one of these states, as sinfo calls them (idle, alloc, mix, down ...)."""
        words = ["--noheader", "--Node", f"--states={','.join(states)}", "--format=%N"]
        # A node is listed once for each of its partitions.
        return sorted(set(self.run("sinfo", *words).split()))

    def start(self) -> None:
        """Starts everything; the nodes are idle then."""
        host = socket.gethostname().partition(".")[0]
        database, accounting, controller, *ports = (free_port() for _ in range(3 + len(self.nodes)))
        facts = {"folder": self.folder, "user": self._user, "host": host, "database_port": database}
        facts |= {"accounting_port": accounting, "controller_port": controller}
        rows = [{"node": node, "host": host, "port": port} for node, port in zip(self.nodes, ports, strict=True)]
        for name in ("munge", "database", "accounting", "controller", *self.nodes):
            (self.folder / name).mkdir()
        self._write("munge/key", secrets.token_hex(512))
        self._write("database/init.sql", DATABASE_SQL)
        self._write("slurmdbd.conf", SLURMDBD_CONF.format(**facts))
        self._write("slurm.conf", "".join(NODE.format(**row) for row in rows) + SLURM_CONF.format(**facts))
        self._write("cgroup.conf", CGROUP_CONF)
        self._write("gres.conf", "".join(GRES.format(**row) for row in rows))

        self._start_munge()
        self._start_database(database)
        # It is told of its configuration only by the folder of SLURM_CONF.
        self._daemon("accounting", "slurmdbd", "-D")
        self._wait(lambda: _answers(accounting), "the start of slurmdbd", "accounting")
        self.start_controller()
        for n in range(1, len(self.nodes) + 1):
            self.start_node(n)
        self._wait(lambda: self.nodes_in("idle") == self.nodes, "the start of the nodes", *self.nodes)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{option}={folder / name}" for option, name in files.items()]
        # Forced, because a folder in /tmp is not safe enough for it.
        self._daemon("munge", "munged", "--foreground", "--force", *words)
        self._wait((folder / "socket").exists, "the start of munged", "munge")

    def _start_database(self, port: int) -> None:
        folder = self.folder / "database"
        install = find("mariadb-install-db")
        assert install is not None
        where = ["--no-defaults", f"--datadir={folder / 'data'}", f"--user={self._user}", f"--tmpdir={folder}"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([install, *where, *options], check=True, capture_output=True, cwd=folder)
        words = [f"--socket={folder}/socket", "--bind-address=127.0.0.1", f"--port={port}", f"--pid-file={folder}/pid"]
        self._daemon("database", "mariadbd", *where, *words, f"--init-file={folder}/init.sql")
        self._wait(lambda: _answers(port), "the start of MariaDB", "database")

    def start_controller(self) -> None:
        """Starts slurmctld, which reads the queue of the one before."""
        self._daemon("controller", "slurmctld", "-D", "-f", str(self.conf))
        self._wait(self._controller_answers, "the start of slurmctld", "controller")

    def _controller_answers(self) -> bool:
        ping = subprocess.run(["scontrol", "ping"], env=self.env, capture_output=True, text=True)
        return "is UP" in ping.stdout

    def wait_saved(self, name: str) -> None:
        """Waits until a controller that is started now would know the job of this name.

        slurmctld writes its queue some seconds after a change; killed before, it loses jobs that it had accepted.
        """
        state = self.folder / "controller" / "job_state"
        wait_until(lambda: state.exists() and name.encode() in state.read_bytes(), f"{name} in the saved queue")

    def stop_controller(self) -> None:
        """Lets slurmctld write its queue and end."""
        self._end("controller", signal.SIGTERM)

    def kill_controller(self) -> None:
        """SIGKILL to slurmctld; see `wait_saved`."""
        self._end("controller", signal.SIGKILL)

    def freeze_accounting(self) -> None:
        """SIGSTOP to slurmdbd: it takes connections and answers nobody."""
        self._daemons["accounting"].send_signal(signal.SIGSTOP)

    def thaw_accounting(self) -> None:
        """Continues slurmdbd."""
        self._daemons["accounting"].send_signal(signal.SIGCONT)

    def start_node(self, n: int) -> None:
        """Starts the n-th node's slurmd; it is idle as soon as the controller hears of it."""
        node = f"n{n}"
        self._daemon(node, "slurmd", "-D", "-N", node, "-f", str(self.conf))

    def kill_node(self, n: int, *, steps: bool = True) -> None:
        """SIGKILL to the n-th node: to slurmd and, unless `steps` is false, to all that its jobs run."""
        self._end(f"n{n}", signal.SIGKILL)
        if steps:
            self._kill_steps(f"n{n}")

    def restore(self) -> None:
        """Starts what does not run and ends every job; the nodes are idle then."""
        self.thaw_accounting()
        if not self._runs("controller"):
            self.start_controller()
        for n, node in enumerate(self.nodes, 1):
            if not self._runs(node):
                self.start_node(n)
        self.run("scancel", f"--user={self._user}")

        def idle() -> bool:
            # Slurm itself gives those that pay no heed to SIGTERM some seconds more.
            for node in self.nodes:
                _kill(self._tasks(node))
            # A controller that was killed gives the id of a job it forgot to another one, and drains the node where it
            # meets the first. Idle nodes that are drained are idle, too.
            drained = self.nodes_in("drain")
            for node in drained:
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
            return not drained and not self.jobs() and self.nodes_in("idle") == self.nodes

        wait_until(idle, "the end of all jobs", LIMIT_S)

    def stop(self) -> None:
        """SIGKILL to everything, jobs included; the folder is of no use afterwards."""
        for daemon in self._daemons.values():
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait(20)
        for node in self.nodes:
            self._kill_steps(node)

    def _kill_steps(self, node: str) -> None:
        def none_left() -> bool:
            # In this order, for a slurmstepd that sees a task die reports that the job has failed.
            found = self._stepds(node) + self._tasks(node)
            _kill(found)
            return not found

        wait_until(none_left, f"the end of what runs on {node}")

    def _stepds(self, node: str) -> list[psutil.Process]:
        # They wipe their environment to show a title, and keep slurmd's working directory.
        folder = str(self.folder / node)
        return _processes(lambda process: process.name() == "slurmstepd" and process.cwd() == folder)

    def _tasks(self, node: str) -> list[psutil.Process]:
        mine = {"SLURM_CONF": str(self.conf), "SLURMD_NODENAME": node}
        return _processes(lambda process: mine.items() <= process.environ().items())

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(0o600)  # munged and slurmdbd insist
        path.write_text(text)

    def _daemon(self, name: str, program: str, *words: str) -> None:
        """Starts a daemon; its working directory and what it prints are in the folder of its name."""
        path = find(program)
        assert path is not None, f"{program} is not installed"
        folder = self.folder / name
        # A test process that is killed leaves no daemon either.
        command = ["setpriv", "--pdeathsig", "KILL", path, *words]
        with (folder / "out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, env=self.env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _wait(self, ready: Callable[[], bool], what: str, *names: str) -> None:
        """Waits, as long as these daemons live."""

        def checked() -> bool:
            for name in names:
                status = self._daemons[name].poll()
                assert status is None, f"{name} ended with {status}: {(self.folder / name / 'out').read_text()[-2000:]}"
            return ready()

        wait_until(checked, what)

    def _runs(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _end(self, name: str, signum: int) -> None:
        if self._runs(name):
            self._daemons[name].send_signal(signum)
            self._daemons[name].wait(20)


@contextmanager
def cluster(nodes: int = 2) -> Iterator[Cluster]:
    """A started cluster in a temporary folder."""
    # A short path, for sockets lie in it and their names end after 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mcn-slurm-"))
    folder.chmod(0o755)
    running = Cluster(folder, nodes)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
