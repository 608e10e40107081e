"""Numbers and times in the words of a sentence."""

from __future__ import annotations

import pytest

from app.jobs.wording import about, count, device_time, interval, ordinal, plain


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
    assert [count(n, "class") for n in (1, 2)] == ["1 class", "2 classes"]


@pytest.mark.parametrize(
    "identifier",
    ["training.epochs", "expert_0", "expert_0:", "resnet18", "data/a.npz", "max_attempts=3", "experts[1]", "npz:data"],
)
def test_a_sentence_that_begins_with_an_identifier_keeps_its_case(identifier: str) -> None:
    assert plain(f"{identifier} is not allowed") == f"{identifier} is not allowed."
    assert plain(f"the field {identifier} is not allowed") == f"The field {identifier} is not allowed."


def test_a_little_device_time_is_not_said_to_be_none() -> None:
    assert [device_time(hours) for hours in (250, 1.25, 0.5, 0.001)] == [
        "250 device hours", "1.2 device hours", "30 device minutes", "about 1 device minute or less",
    ]  # fmt: skip


def test_the_interval_of_an_accuracy_ends_where_accuracies_do() -> None:
    assert interval(-0.01, 1.2954, "val/accuracy_fused", 4) == "0.0000 to 1.0000"
    assert interval(-0.01, 1.2954, "val/loss_global", 2) == "-0.01 to 1.30"
