"""The attempts of a job on a time axis, on which long waits are cut to labelled breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from app.jobs import wording
from app.jobs.report_schemas import Ledger, LedgerRow
from app.models import TERMINAL_STATES, Attempt, Event, State
from app.web.views import words

# More labels than this do not fit below the axis.
MAX_BREAK_LABELS = 4
# Waits longer than this many times the running time become breaks.
BREAK_FACTOR = 3
MAX_ROWS = 12
ROW_HEIGHT = 26
_BREAK_SHARE, _MAX_BREAKS_SHARE = 18.0, 60.0
_ACTIVE = (State.starting, State.running, State.pausing, State.cancelling)
_MIN_WIDTH = 0.4


class Bar(NamedTuple):
    """A time in one state; `x` and `width` are percentages of the axis."""

    x: float
    width: float
    kind: str
    title: str


class Break(NamedTuple):
    """A wait that is drawn shorter than it was; `label` says how long it was, `y` is where its bar begins."""

    x: float
    width: float
    y: int
    label: str

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return round(self.x + self.width / 2, 3)


class Row(NamedTuple):
    """An attempt: `number` is null for the wait after the last one. `redone` are its hatched parts."""

    number: int | None
    y: int
    bars: list[Bar]
    redone: list[Bar]


class Mark(NamedTuple):
    """A decision of early stopping."""

    x: float
    title: str


class Timeline(NamedTuple):
    """Rows below one another, in pixels of height and percent of width."""

    rows: list[Row]
    breaks: list[Break]
    marks: list[Mark]
    kinds: list[str]
    height: int
    start: datetime
    end: datetime
    hidden: int

    @property
    def labels_fit(self) -> bool:
        """Whether the breaks can have their labels below them."""
        return len(self.breaks) <= MAX_BREAK_LABELS


class _Segment(NamedTuple):
    state: State
    start: datetime
    end: datetime
    row: int

    @property
    def seconds(self) -> float:
        return max(0.0, (self.end - self.start).total_seconds())


def timeline(
    states: Sequence[Event], rungs: Sequence[Event], attempts: Sequence[Attempt], ledger: Ledger, at: datetime
) -> Timeline | None:
    """The timeline from a job's state events, early-stopping events, attempts and ledger; None without events."""
    segments = _segments(states, at)
    if not segments:
        return None
    hidden = max(0, segments[-1].row + 1 - MAX_ROWS)
    segments = [segment for segment in segments if segment.row >= hidden]
    positions, breaks = _positions(segments, hidden)
    shares = {row.attempt: _shares(row) for row in ledger.attempts}
    bars: dict[int, list[Bar]] = {}
    redone: dict[int, list[Bar]] = {}
    for segment, (x, width) in zip(segments, positions, strict=True):
        if segment.state in TERMINAL_STATES:
            continue
        title = f"{segment.state.value}, {words.duration(segment.seconds)}"
        bars.setdefault(segment.row, []).append(Bar(x, max(width, _MIN_WIDTH), segment.state.value, title))
        share, silent = shares.get(segment.row + 1, (0.0, 0.0))
        if segment.state is State.running and share > 0:
            part = max(width * share, _MIN_WIDTH)
            start = max(x, x + width * (1 - silent) - part)
            redone.setdefault(segment.row, []).append(Bar(start, part, "redone", "done again later"))
    numbers = [attempt.number for attempt in attempts]
    rows = [
        Row(numbers[row] if row < len(numbers) else None, _y(row - hidden), found, redone.get(row, []))
        for row, found in sorted(bars.items())
    ]
    kinds = list(dict.fromkeys(bar.kind for row in rows for bar in row.bars))
    kinds += ["redone"] if any(row.redone for row in rows) else []
    height = 4 + ROW_HEIGHT * (1 + max((row - hidden for row in bars), default=0)) + (20 if breaks else 0)
    marks = [
        Mark(_place(event.time, segments, positions), _decision(event.data))
        for event in rungs
        if event.time >= segments[0].start
    ]
    return Timeline(rows, breaks, marks, kinds, height, segments[0].start, segments[-1].end, hidden)


def _segments(states: Sequence[Event], at: datetime) -> list[_Segment]:
    """The time in each state; an attempt begins with `starting`, and what comes before belongs to its row."""
    segments: list[_Segment] = []
    started = 0
    ends = [*(event.time for event in states[1:]), at][: len(states)]
    for event, end in zip(states, ends, strict=True):
        state = State(event.data["state"])
        if state in TERMINAL_STATES and event is states[-1]:
            break
        started += state is State.starting
        segments.append(_Segment(state, event.time, end, max(0, started - 1) if state in _ACTIVE else started))
    return segments


def _y(row: int) -> int:
    return 4 + row * ROW_HEIGHT


def _positions(segments: Sequence[_Segment], hidden: int) -> tuple[list[tuple[float, float]], list[Break]]:
    active = sum(segment.seconds for segment in segments if segment.state in _ACTIVE)
    is_break = [
        segment.state not in _ACTIVE and active > 0 and segment.seconds > BREAK_FACTOR * active for segment in segments
    ]
    share = min(_BREAK_SHARE, _MAX_BREAKS_SHARE / max(1, sum(is_break)))
    linear = sum(segment.seconds for segment, cut in zip(segments, is_break, strict=True) if not cut)
    scale = (100.0 - share * sum(is_break)) / linear if linear else 0.0
    x, positions, breaks = 0.0, [], []
    for segment, cut in zip(segments, is_break, strict=True):
        width = share if cut else segment.seconds * scale
        positions.append((round(x, 3), round(width, 3)))
        if cut:
            breaks.append(Break(round(x, 3), round(width, 3), _y(segment.row - hidden), _cut(segment.seconds)))
        x += width
    return positions, breaks


def _cut(seconds: float) -> str:
    """How long a wait was, in one unit: there is no room for two."""
    length = f"{seconds:.0f} s" if seconds < 90 else wording.about(seconds).removeprefix("about ")
    return f"{length} cut"


def _place(time: datetime, segments: Sequence[_Segment], positions: Sequence[tuple[float, float]]) -> float:
    for segment, (x, width) in zip(segments, positions, strict=True):
        if time <= segment.end:
            fraction = (time - segment.start).total_seconds() / segment.seconds if segment.seconds else 0.0
            return round(x + width * min(1.0, max(0.0, fraction)), 3)
    return 100.0


def _shares(row: LedgerRow) -> tuple[float, float]:
    """Which shares of an attempt were done again later, and silent; what is silent comes last."""
    redone = row.redone or 0.0
    total = (row.useful or 0.0) + redone + row.silent
    return (redone / total, row.silent / total) if total else (0.0, 0.0)


def _decision(data: Mapping[str, object]) -> str:
    verdict = "continues" if data.get("kept") else "stopped"
    return f"early stopping after epoch {data.get('rung')}: {verdict}"
