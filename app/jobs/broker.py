"""The embedded broker: Celery's messages as files in a folder, for a service without Redis."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """Kombu's channel, with files that are read whole.

    Kombu writes a message under its final name. A worker that looks in between reads an empty file, loses the message,
    and ends. The file with the bindings of an exchange is empty for a moment too, when it is written the first time.
    """

    def get_table(self, exchange: str) -> Any:
        """The bindings of an exchange."""
        with self._locked_bindings():
            return super().get_table(exchange)  # type: ignore[no-untyped-call]

    def _queue_bind(self, *arguments: Any) -> None:
        with self._locked_bindings():
            super()._queue_bind(*arguments)  # type: ignore[no-untyped-call]

    @contextmanager
    def _locked_bindings(self) -> Iterator[None]:
        self.control_folder.mkdir(parents=True, exist_ok=True)
        with (self.control_folder / "bindings.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        # Kombu reads files named *.QUEUE.msg, in the order of their names.
        final = Path(self.data_folder_out) / f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        unfinished = final.with_suffix(".part")
        try:
            unfinished.write_text(dumps(payload))  # type: ignore[no-untyped-call]
            os.replace(unfinished, final)
        except OSError as error:
            raise ChannelError(f"the broker cannot write {final}: {error}") from error


class Transport(filesystem.Transport):
    """Kombu's transport over files, with the channel above."""

    Channel = Channel
