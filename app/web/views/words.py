"""Numbers, times and states as people read them: the filters of the templates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from app.jobs import wording
from app.models import TERMINAL_STATES, Reason, State

# A state is shown by an icon, a word and a colour.
STATE_ICONS = {
    State.waiting: "hourglass",
    State.queued: "list-ordered",
    State.starting: "loader",
    State.running: "play",
    State.pausing: "pause",
    State.paused: "pause",
    State.cancelling: "ban",
    State.succeeded: "circle-check",
    State.failed: "octagon-alert",
    State.cancelled: "ban",
}
# Reasons that say more, or blame less, than their codes.
REASONS: dict[str, str] = {
    Reason.code_error: "ended with an error",
    Reason.invalid_component: "a component does not fit",
    Reason.dependency_failed: "a job that it needs did not succeed",
    Reason.time_limit: "reached its time limit",
    Reason.loss_not_finite: "values are not finite",
    Reason.no_space: "the disk is full",
    Reason.hang: "its process hung",
    Reason.lost: "its process was lost",
    Reason.user: "by a user",
}
NOTHING = "\u2013"
_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-_])")
# Control characters other than tab and newline have pictures of their own in Unicode.
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
# C1 controls and marks that change the direction of text.
_CONTROLS |= dict.fromkeys((*range(128, 160), *range(8234, 8239), *range(8294, 8298)), "�")


def plain(text: str) -> str:
    """Text of a program without terminal sequences; other control characters become symbols."""
    return _ANSI.sub("", text).replace("\r\n", "\n").translate(_CONTROLS)


def duration(seconds: float | None) -> str:
    """A duration in its two largest units, such as `2 h 5 min`."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, float(seconds))
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def _moment(time: datetime | str) -> datetime:
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ago(time: datetime | str | None) -> str:
    """How long ago a time was, in its largest unit."""
    if time is None:
        return NOTHING
    seconds = (datetime.now(UTC) - _moment(time)).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def clock(time: datetime | str | None) -> str:
    """A time in UTC to the second."""
    return NOTHING if time is None else _moment(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def number(value: float | None, digits: int = 4) -> str:
    """A number with four significant digits; whole numbers in groups of three."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.{digits}g}" if abs(value) >= 1e-4 else f"{value:.1e}"


def accuracy(value: float | None) -> str:
    """A rate between 0 and 1 with four decimals, so that columns line up."""
    return NOTHING if value is None else f"{value:.4f}"


def decimals(values: Iterable[float | None], metric: str) -> int:
    """With how many decimals all values of a metric are written, so that they line up: four for most of them."""
    known = [abs(value) for value in values if value is not None]
    if "accuracy" in metric or not known:
        return 4
    largest = max(known)
    if all(value == int(value) for value in known):
        return 0
    digits = 3 if largest < 1 else 4
    return 4 if 0.001 <= largest < 10 else min(9, max(0, digits - math.floor(math.log10(largest))))


def fixed(value: float | None, places: int) -> str:
    """A number with this many decimals, and with groups of three before them."""
    return NOTHING if value is None else f"{value:,.{places}f}".replace(",", "\u202f")


def points(difference: float | None) -> str:
    """A difference of accuracies in percentage points, with its sign and one decimal."""
    if difference is None:
        return NOTHING
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}".replace("-", "\u2212") if rounded else "0.0"


def percent(fraction: float | None) -> str:
    """A fraction in whole percent; 100 only when it is complete."""
    return NOTHING if fraction is None else wording.percent(fraction)


def short_id(identifier: str) -> str:
    """The beginning and the end of an id, which tell jobs apart."""
    return identifier if len(identifier) <= 16 else f"{identifier[:8]}…{identifier[-4:]}"


def state_icon(state: State | str) -> str:
    """The name of the icon of a state."""
    return STATE_ICONS[State(state)]


def reason(code: str) -> str:
    """The reason of a state or an attempt in a few words."""
    return REASONS.get(code, code.replace("_", " "))


def is_over(state: State | str) -> bool:
    """Whether a job in this state has ended, so that nothing is still to come."""
    return State(state) in TERMINAL_STATES


def count(value: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def capitalized(sentence: str) -> str:
    """A sentence with a capital letter, unless it begins with an identifier."""
    return wording.capitalized(sentence)


def interval(low: float, high: float, metric: str, places: int) -> str:
    """An interval of the mean of a metric; that of an accuracy ends where accuracies do."""
    return wording.interval(low, high, metric, places)


_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    plain, duration, ago, clock, size, number, accuracy, points, fixed, percent, short_id, state_icon, reason, is_over,
    count, capitalized,
)  # fmt: skip
FILTERS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _FUNCTIONS}
