"""Numbers and times in the words of a sentence."""

from __future__ import annotations

import re

# An id is written as it is, also at the beginning of a sentence.
_ID = re.compile(r"(job|cmp|swp)_[0-9A-Z]{26}\b")
_KINDS = {"job": "The job", "cmp": "The component", "swp": "The sweep"}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def ordinal(number: int) -> str:
    """`first`, `second`, .. and from 11 on `11th`, `21st`, .."""
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


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
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith(('.', '!', '?')) else '.'}"
