from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.live import Live

from app.cli.sanitize import sanitize
from app.cli.tables import jobs_table
from app.cli.terminal import SafeConsole
from tests.app.cli.streams import make_job

# Escape sequences, C0, C1, bidirectional and invisible marks, lone surrogates.
HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\x85\x07\x08e\u202ef\u2066g\u200fh\x7fi\ud800j\u2028k"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 漢字 🙂", "plain é 漢字 🙂"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ends", "\\x1b]0;never ends"),
        ("\x1bcreset", "reset"),
        ("a\rb", "a\\rb"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("nel\x85", "nel\\x85"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("1\u00a0000", "1\u00a0000"),
    ],
)
def test_what_is_left_of_a_text(text: str, expected: str) -> None:
    assert sanitize(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_is_printable_afterwards_and_stays_as_it_is(text: str) -> None:
    safe = sanitize(text)
    assert all(c in "\n\t" or ord(c) >= 160 or 32 <= ord(c) < 127 for c in safe)
    assert not set(safe) & set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert sanitize(safe) == safe


def rendered(console: SafeConsole) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def is_safe(text: str) -> bool:
    return not any(character in text for character in "\x07\x08\x7f\x85\x9b\u2028\u202e\u2066\u200f\ud800")


def test_a_console_sanitizes_text_tables_and_live_displays() -> None:
    console = SafeConsole(file=StringIO(), width=300, force_terminal=False)
    console.print(HOSTILE)
    console.print(jobs_table([make_job("job_1", name=HOSTILE, reason="user", message=HOSTILE)]))
    assert is_safe(rendered(console))
    assert "\x1b" not in rendered(console)
    terminal = SafeConsole(file=StringIO(), width=300, force_terminal=True, color_system="standard")
    with Live(console=terminal) as live:
        live.update(jobs_table([make_job("job_1", "failed", name=HOSTILE, message=HOSTILE)]))
    assert is_safe(rendered(terminal))
    assert "\x1b]0;" not in rendered(terminal)
    assert "\x1b[2J" not in rendered(terminal)
    # rich's own colours and cursor movements stay.
    assert "\x1b[31mfailed\x1b[0m" in rendered(terminal)


def test_columns_keep_their_width_whatever_a_name_holds() -> None:
    console = SafeConsole(file=StringIO(), width=200, force_terminal=False)
    console.print(jobs_table([make_job("job_1", name="\u202e" * 5), make_job("job_2", name="x" * 30)]))
    header, *rows = rendered(console).splitlines()
    assert [row.index("running") for row in rows] == [header.index("state")] * 2
