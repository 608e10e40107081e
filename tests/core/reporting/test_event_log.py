from __future__ import annotations

import json
import threading
from pathlib import Path

from core.reporting.event_log import EventLog, read_events
from core.reporting.protocol import Fanout


def test_every_event_is_one_numbered_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "run" / "events.jsonl")
    log.emit("metrics", {"step": 1, "values": {"train/loss_total": 0.5}})
    log.emit("log", {"level": "info", "message": "two\nlines"})
    log.close()
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["seq"], first["kind"], first["data"]["values"]) == (1, "metrics", {"train/loss_total": 0.5})
    assert (second["seq"], second["data"]["message"]) == (2, "two\nlines")


def test_numbers_rise_across_restarts_and_a_half_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("state", {"state": "running"})
    log.close()
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "ti')
    assert [event["seq"] for event in read_events(path)] == [1]
    again = EventLog(path)
    again.emit("state", {"state": "running"})
    again.close()
    assert [event["seq"] for event in read_events(path)] == [1, 2]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("metrics", {"step": 1, "values": {"a": float("nan"), "b": float("inf"), "c": 1.0}})
    assert read_events(tmp_path / "events.jsonl")[0]["data"]["values"] == {"a": None, "b": None, "c": 1.0}


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")

    def write() -> None:
        for _ in range(50):
            log.emit("log", {"message": "x" * 5000})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event["seq"] for event in read_events(tmp_path / "events.jsonl")] == list(range(1, 201))


def test_a_fanout_reaches_every_reporter(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    fanout = Fanout([EventLog(path) for path in paths])
    fanout.emit("state", {"state": "running"})
    fanout.close()
    assert all(read_events(path)[0]["data"] == {"state": "running"} for path in paths)
