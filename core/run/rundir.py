"""Every path of a run. Service and training process share nothing but these files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_TAIL_BYTES = 16_384


@dataclass(frozen=True)
class RunDir:
    """The directory of one job: what all of its attempts share."""

    path: Path

    @property
    def spec(self) -> Path:
        """The complete specification that the run began with."""
        return self.path / "spec.json"

    @property
    def sources(self) -> Path:
        """SHA-256 of every component that the run started from."""
        return self.path / "sources.json"

    @property
    def identity(self) -> Path:
        """The data that the run trains on, and the environments that computed it (`RunIdentity`)."""
        return self.path / "identity.json"

    @property
    def splits(self) -> Path:
        """The indices of the images of every shard and of the fusion phase."""
        return self.path / "splits.npz"

    @property
    def checkpoints(self) -> Path:
        """A folder for each checkpoint."""
        return self.path / "checkpoints"

    @property
    def components(self) -> Path:
        """The best components so far, with their manifests."""
        return self.path / "components"

    def predictions(self, split: str) -> Path:
        """The logits of every path on the images of a split, `val` or `test`; an `.npz` file."""
        return self.path / "predictions" / f"{split}.npz"

    @property
    def result(self) -> Path:
        """What was measured on test; only a run that succeeded has it."""
        return self.path / "result.json"

    @property
    def events(self) -> Path:
        """The event log of a run without attempts, as `python -m core` writes it."""
        return self.path / "events.jsonl"

    @property
    def wandb_id(self) -> Path:
        """The id of the W&B run that all attempts report to."""
        return self.path / "wandb-id"

    def attempt(self, number: int) -> AttemptDir:
        """The files of one attempt, counted from 1."""
        return AttemptDir(self, number)


@dataclass(frozen=True)
class AttemptDir:
    """The directory of one attempt, `attempt-<n>` in the run directory. `core.run.protocol` writes the JSON files."""

    run: RunDir
    number: int

    @property
    def path(self) -> Path:
        """The folder of this attempt."""
        return self.run.path / f"attempt-{self.number}"

    @property
    def task(self) -> Path:
        """The work of the training process (`Task`); written before it starts."""
        return self.path / "task.json"

    @property
    def claim(self) -> Path:
        """The process that runs the attempt (`Claim`): the first one that creates this file."""
        return self.path / "process.json"

    @property
    def rendezvous(self) -> Path:
        """Where the first of several processes listens (`Rendezvous`)."""
        return self.path / "rendezvous.json"

    @property
    def stop_request(self) -> Path:
        """Exists once this attempt is to stop, where a signal would reach other attempts too."""
        return self.path / "stop-requested"

    @property
    def outcome(self) -> Path:
        """How the attempt ended (`Outcome`), reported by the training process itself."""
        return self.path / "outcome.json"

    def rank_outcome(self, rank: int | str) -> Path:
        """How a process other than the first failed; `*` matches any rank."""
        return self.path / f"outcome-rank{rank}.json"

    @property
    def reserve(self) -> Path:
        """Disk space kept free for the outcome: deleted just before that is written."""
        return self.path / ".reserve"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """Standard output and error of the first process."""
        return self.path / "log.txt"

    def rank_log(self, rank: int) -> Path:
        """Standard output and error of a process by its rank."""
        return self.log if rank == 0 else self.path / f"log-rank{rank}.txt"


def log_tail(file: Path, lines: int = 20) -> str:
    """The last lines of a log; empty if there is no log."""
    try:
        with file.open("rb") as source:
            source.seek(max(0, source.seek(0, 2) - _TAIL_BYTES))
            text = source.read().decode("utf-8", "replace").replace("\0", "")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
