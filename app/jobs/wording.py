"""Numbers and times in the words of a sentence."""

from __future__ import annotations

import re

# An id is written as it is, also at the beginning of a sentence.
_ID = re.compile(r"(job|cmp|swp)_[0-9A-Z]{26}\b")
# Neither is the name of a field or a component, a path or a number with letters: `training.epochs`, `expert_0`.
_IDENTIFIER = re.compile(r"\S*(\w[._/=\[:]\w|[a-z]\d)")
_KINDS = {"job": "The job", "cmp": "The component", "swp": "The sweep"}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(number: int) -> str:
    """`first`, `second`, .. and from 11 on `11th`, `21st`, .."""
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`, `2 classes`."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def format_bytes(count: int) -> str:
    """Bytes in decimal units, for example `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1000, 0
    while value >= 1000 and unit < 2:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {('kB', 'MB', 'GB')[unit]}"


def device_time(hours: float) -> str:
    """Device-hours in a unit in which they are not zero: `3.5 device hours`, `12 device minutes`."""
    if hours >= 1:
        return f"{hours:,.{1 if hours < 100 else 0}f} device hours"
    return f"{60 * hours:.0f} device minutes" if 60 * hours >= 1.5 else "about 1 device minute or less"


def interval(low: float, high: float, metric: str, places: int) -> str:
    """An interval of the mean of a metric, such as `0.91 to 0.97`.

    That of an accuracy ends where accuracies do: Student's t does not know that there is nothing beyond.
    """
    if "accuracy" in metric:
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{low:.{places}f} to {high:.{places}f}"


def p_text(p: float) -> str:
    """A p value with two significant digits."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def percent(fraction: float) -> str:
    """A fraction in whole percent; 100 only when it is complete."""
    return f"{min(99, int(fraction * 100)) if fraction < 1 else 100} %"


def about(seconds: float) -> str:
    """A length of time with one digit of meaning: `about 40 s`, `about 6 min`, `about 3 h`, `about 2 days`."""
    if seconds < 90:
        return f"about {max(1, round(seconds)) if seconds < 20 else round(seconds, -1):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.0f} h" if seconds < 36 * 3600 else f"about {seconds / 86400:.0f} days"


def plain(text: str) -> str:
    """The first line of a message, as a sentence."""
    line = text.strip().partition("\n")[0]
    if match := _ID.match(line):
        line = f"{_KINDS[match[1]]} {line}"
    return f"{capitalized(line)}{'' if line.endswith(('.', '!', '?')) else '.'}"


def capitalized(sentence: str) -> str:
    """A sentence with a capital letter, unless it begins with an identifier, which is written as it is."""
    return sentence if _IDENTIFIER.match(sentence) else sentence[:1].upper() + sentence[1:]
