"""Every path of a run, and the small files by which service and training process speak to each other."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.run.durable import write_durably


@dataclass(frozen=True)
class RunDir:
    """One attempt of a job in the job's folder."""

    path: Path
    attempt: int

    @property
    def attempt_dir(self) -> Path:
        """What belongs to this attempt alone."""
        return self.path / f"attempt-{self.attempt}"

    @property
    def task(self) -> Path:
        """What the training process is to do; written before it starts."""
        return self.attempt_dir / "task.json"

    @property
    def claim(self) -> Path:
        """Who runs this attempt; whoever makes this file first."""
        return self.attempt_dir / "process.json"

    @property
    def meeting(self) -> Path:
        """Where the first of several processes is to be met."""
        return self.attempt_dir / "meeting.json"

    @property
    def outcome(self) -> Path:
        """How the attempt ended, in the training process's own words."""
        return self.attempt_dir / "outcome.json"

    def outcome_of(self, rank: int | str) -> Path:
        """How another process of the attempt than the first one ended, if badly."""
        return self.attempt_dir / f"outcome-rank{rank}.json"

    @property
    def reserve(self) -> Path:
        """Some room on the disk, given up for the outcome."""
        return self.attempt_dir / ".reserve"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.attempt_dir / "events.jsonl"

    @property
    def log(self) -> Path:
        """Standard output and error."""
        return self.attempt_dir / "log.txt"

    @property
    def result(self) -> Path:
        """The witness of success; of the whole job."""
        return self.path / "result.json"

    def write(self, file: Path, content: dict[str, Any]) -> None:
        """Writes one of the small files whole."""
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, lambda draft: draft.write_text(json.dumps(content, indent=1)))

    def try_claim(self, content: dict[str, Any]) -> bool:
        """Makes the claim file, whole from the first moment; false where somebody else has."""
        self.attempt_dir.mkdir(parents=True, exist_ok=True)
        draft = self.claim.with_name(f".process.{os.getpid()}")
        draft.write_text(json.dumps(content))
        try:
            os.link(draft, self.claim)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True


def read(file: Path) -> dict[str, Any] | None:
    """One of the small files; None where it is not there (yet)."""
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return content


def log_tail(file: Path, lines: int = 20) -> str:
    """The last lines of a log."""
    try:
        with file.open("rb") as source:
            source.seek(max(0, source.seek(0, 2) - 16_384))
            text = source.read().decode("utf-8", "replace").replace("\0", "")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
