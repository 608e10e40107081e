"""Log files: bounded, complete over rotation and restarts, and never in the way of the process that writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import pytest

from app.supervisor.log_files import MAX_LINE_BYTES, LogFile

LIMIT_S = 30.0


def write(log: LogFile, *texts: bytes) -> None:
    """Has a log follow a pipe for each text, as for a process that ends and is started again."""
    for text in texts:
        source, target = os.pipe()
        log.follow(os.fdopen(source, "rb"))
        pipe: IO[bytes]
        with os.fdopen(target, "wb") as pipe:
            pipe.write(text)
    log.wait(LIMIT_S)


def stored(path: Path) -> str:
    files = [path.with_name(f"{path.name}.{number}") for number in (2, 1)]
    return "".join(file.read_text() for file in (*files, path) if file.exists())


def test_the_files_are_bounded_and_no_line_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path, max_bytes=1_000)
    write(log, "".join(f"line {number:05}\n" for number in range(1_000)).encode())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["api.log", "api.log.1", "api.log.2"]
    assert all(file.stat().st_size <= 1_000 for file in tmp_path.iterdir())
    lines = stored(path).splitlines()
    assert lines == [f"line {number:05}" for number in range(1_000 - len(lines), 1_000)]
    log.close()


def test_a_restart_of_the_process_or_of_the_supervisor_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    expected = ""
    for start in range(2):
        log = LogFile(path, max_bytes=10_000)
        texts = [f"start {start} process {process} line {line}\n" for process in range(3) for line in range(20)]
        for process in range(3):
            write(log, "".join(texts[process * 20 : process * 20 + 20]).encode())
        expected += "".join(texts)
        log.close()
    assert stored(path) == expected


def test_bytes_that_are_no_text_and_endless_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    log = LogFile(path)
    write(log, b"\xff\n" + b"x" * (MAX_LINE_BYTES + 10) + b"\nlast without an end")
    assert log.last_lines(2) == ["x" * 10, "last without an end"]
    assert path.read_text().startswith("\\xff\n")
    log.close()


def test_a_file_that_cannot_be_written_does_not_stop_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = LogFile(tmp_path / "missing" / "api.log")
    write(log, b"line\n" * 100_000)
    assert log.last_lines(3) == []
    assert capsys.readouterr().err == ""
