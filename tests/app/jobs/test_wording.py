"""Numbers and times in the words of a sentence."""

from __future__ import annotations

from app.jobs.wording import about, count, ordinal, plain


def test_numbers_and_times_are_said_in_words() -> None:
    assert [ordinal(n) for n in (1, 10, 11, 12, 21, 22, 111)] == [
        "first",
        "tenth",
        "11th",
        "12th",
        "21st",
        "22nd",
        "111th",
    ]
    assert [count(n, "job") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    times = (0.2, 7, 43, 300, 7200, 200_000)
    assert [about(s) for s in times] == [
        "about 1 s", "about 7 s", "about 40 s", "about 5 min", "about 2 h", "about 2 days",
    ]  # fmt: skip
    assert plain("no space\nmore") == "No space."
