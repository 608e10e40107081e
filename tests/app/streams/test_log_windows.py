"""Windows of a log by byte offset, and searching it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.streams import log_windows
from app.streams.log_windows import Window, read_window, search
from core.run.rundir import RunDir
from tests.app.api import Service
from tests.app.streams.test_logs import set_attempt

LINES = [f"line {number}: {'x' * (number % 7 + 1)}\n" for number in range(300)]
TEXT = "".join(LINES).encode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log.txt"
    file.write_bytes(TEXT)
    return file


def walked(file: Path, count: int) -> list[Window]:
    windows = [read_window(file, 0, count)]
    while windows[-1].end < windows[-1].size:
        windows.append(read_window(file, windows[-1].end, count))
        assert windows[-1].end > windows[-2].end
    return windows


@pytest.mark.parametrize("count", [1, 5, 40, 1000, 1 << 20])
def test_windows_one_after_another_are_the_whole_log(log: Path, count: int) -> None:
    windows = walked(log, count)
    assert b"".join(window.text for window in windows) == TEXT
    if count >= 40:
        assert all(window.text.startswith(b"line ") and window.text.endswith(b"\n") for window in windows)


def test_a_window_begins_at_the_line_that_contains_the_offset(log: Path) -> None:
    start = TEXT.index(b"line 123")
    for at in (start, start + 1, start + len(LINES[123]) - 1):
        window = read_window(log, at, 50)
        assert (window.start, window.size) == (start, len(TEXT))
        assert window.text == TEXT[start : window.end]
    assert read_window(log, start + len(LINES[123]), 50).start == start + len(LINES[123])
    assert read_window(log, 10**12, 50) == Window(b"", len(TEXT), len(TEXT), len(TEXT))


def test_an_endless_line_is_cut_into_windows(log: Path) -> None:
    log.write_bytes(b"first\n" + b"y" * 300_000)
    for count in (1000, 100_000):
        assert b"".join(window.text for window in walked(log, count)) == log.read_bytes()


def test_a_log_that_is_missing_is_empty(tmp_path: Path) -> None:
    assert read_window(tmp_path / "none", 5, 10) == Window(b"", 0, 0, 0)
    assert search(tmp_path / "none", "x", 0).hits == []


def test_a_search_gives_every_line_once_with_its_offset(log: Path) -> None:
    found = search(log, "LINE 12", 0)
    assert [hit.text for hit in found.hits] == [LINES[n].rstrip() for n in (12, *range(120, 130))]
    assert all(TEXT[hit.offset :].startswith(hit.text.encode()) for hit in found.hits)
    assert (found.next_after, found.size) == (None, len(TEXT))
    assert search(log, "line 12", found.hits[1].offset).hits == found.hits[1:]
    assert search(log, "li.*e", 0).hits == []


def test_a_search_stops_at_the_most_hits_and_goes_on_there(log: Path) -> None:
    first = search(log, "line", 0)
    assert len(first.hits) == log_windows.MAX_HITS == 200
    assert first.next_after == TEXT.index(b"line 200")
    rest = search(log, "line", first.next_after)
    assert [hit.text for hit in first.hits + rest.hits] == [line.rstrip() for line in LINES]
    assert rest.next_after is None


def test_a_search_reads_a_bounded_number_of_bytes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_windows, "MAX_SEARCH_BYTES", 1000)
    monkeypatch.setattr(log_windows, "_BLOCK_BYTES", 100)
    after, hits = 0, []
    calls = 0
    while True:
        calls += 1
        found = search(log, "7:", after)
        hits += found.hits
        if found.next_after is None:
            break
        assert after + 1000 <= found.next_after <= after + 1200
        after = found.next_after
    assert calls > 3
    assert [hit.text for hit in hits] == [line.rstrip() for line in LINES if "7:" in line]


def test_the_text_of_a_hit_is_cut_and_what_is_not_utf_8_is_replaced(log: Path) -> None:
    log.write_bytes(b"\xffneedle " + "é".encode() * 2000 + b"\r\n")
    [hit] = search(log, "needle", 0).hits
    assert (len(hit.text), hit.text[:8]) == (500, "\ufffdneedle ")


def test_windows_and_hits_over_http(service: Service) -> None:
    job_id = service.submit()
    set_attempt(service, 2)
    run = RunDir(service.settings.runs_dir / job_id)
    for number, text in ((1, b"old\n"), (2, TEXT)):
        run.attempt(number).log.parent.mkdir(parents=True)
        run.attempt(number).log.write_bytes(text)
    answer = service.get(f"/jobs/{job_id}/logs?at=20&bytes=30")
    offsets = [int(answer.headers[f"x-log-{name}"]) for name in ("start", "end", "size")]
    assert offsets == [10, 10 + len(answer.content), len(TEXT)]
    assert answer.content == TEXT[offsets[0] : offsets[1]]
    last = service.get(f"/jobs/{job_id}/logs?tail=1")
    assert (last.headers["x-log-start"], last.text) == (str(TEXT.rindex(b"line")), LINES[-1])
    assert service.get(f"/jobs/{job_id}/logs?at=0&attempt=1").text == "old\n"
    found = service.get(f"/jobs/{job_id}/logs/search?q=line 7:").json()
    assert found == {
        "attempt": 2,
        "hits": [{"offset": TEXT.index(b"line 7:"), "text": "line 7: x"}],
        "next_after": None,
        "size": len(TEXT),
    }
    assert service.get(f"/jobs/{job_id}/logs/search?q=old&attempt=1").json()["hits"][0]["offset"] == 0
