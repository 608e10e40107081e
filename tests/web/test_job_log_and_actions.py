"""Windows of a log as lines, and the actions that a person has."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.auth.principals import Principal
from app.jobs.report_schemas import Action, Explanation
from app.models import Role, State
from app.web.views import job_actions, log_lines

JOB_ID = "job_01M85N3F36VFE5DRETSBRX1ADS"


def test_windows_of_a_log_cover_it_forwards_and_backwards(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"".join(b"line %d \x1b[31mred\x1b[0m\r\n" % k for k in range(1_800)) + b"x" * 9_000)
    windows = [log_lines.log_window(file, 0)]
    while (target := windows[-1].next) is not None:
        windows.append(log_lines.log_window(file, target))
    assert [line.text for window in windows for line in window.lines][:-1] == [f"line {k} red" for k in range(1_800)]
    assert len(windows[-1].lines[-1].text) == log_lines.MAX_LINE_CHARACTERS + 1
    assert max(len(window.lines) for window in windows) == log_lines.WINDOW_LINES
    backwards = [log_lines.log_window(file, None)]
    assert backwards[0].end == backwards[0].size
    while (target := backwards[-1].previous) is not None:
        backwards.append(log_lines.log_window(file, target))
        assert backwards[-1].end >= backwards[-2].start
    assert backwards[-1].start == 0


def test_windows_of_an_endless_line_and_of_no_file_come_to_an_end(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    assert log_lines.log_window(file, None).lines == []
    file.write_bytes(b"a" * 300_000)
    target, seen = log_lines.log_window(file, None).previous, 0
    while target is not None:
        target, seen = log_lines.log_window(file, target).previous, seen + 1
        assert seen < 20


ALICE = Principal("tok_1", "alice", Role.member)


def explained(*items: Action) -> Explanation:
    return Explanation(sentence="", evidence=[], actions=list(items))


@pytest.mark.parametrize(
    ("name", "verbs", "adjust"),
    [
        (State.waiting, ["cancel"], None),
        (State.queued, ["cancel"], "resume"),
        (State.running, ["pause", "cancel"], None),
        (State.paused, ["resume", "cancel"], "resume"),
        (State.cancelling, [], None),
        (State.failed, ["retry"], "retry"),
        (State.succeeded, [], None),
    ],
)
def test_the_actions_follow_from_the_state(name: State, verbs: list[str], adjust: str | None) -> None:
    shown = job_actions.actions(JOB_ID, name, explained(), allowed=True)
    assert ([change.verb for change in shown.changes], shown.adjust) == (verbs, adjust)
    assert shown.can_delete == (name in (State.failed, State.succeeded))
    nothing = job_actions.actions(JOB_ID, name, explained(), allowed=False)
    assert (nothing.changes, nothing.adjust, nothing.can_delete) == ([], None, False)


@pytest.mark.parametrize(
    ("name", "primary"),
    [
        (State.queued, []),
        (State.running, ["Read the log"]),
        (State.paused, ["Resume"]),
        (State.failed, ["Retry"]),
        (State.cancelled, ["Retry"]),
    ],
)
def test_the_most_sensible_step_stands_out_and_no_other_does(name: State, primary: list[str]) -> None:
    log = Action(label="Read the log", method="GET", path=f"/jobs/{JOB_ID}/logs", command="")
    shown = job_actions.actions(JOB_ID, name, explained(*([] if name is State.queued else [log])), allowed=True)
    styles = [(change.label, change.style) for change in shown.changes]
    styles += [(link.label, link.style) for link in shown.links]
    assert [label for label, style in styles if style == "primary"] == primary


def test_a_changed_copy_stands_out_where_a_retry_fails_again_or_is_refused() -> None:
    copy = Action(label="Submit a changed copy", method="GET", path=f"/jobs/{JOB_ID}", command="")
    shown = job_actions.actions(JOB_ID, State.failed, explained(copy), allowed=True)
    assert (shown.clone_first, [(change.verb, change.style) for change in shown.changes]) == (True, [("retry", "")])
    refused = job_actions.actions(JOB_ID, State.failed, explained(copy), allowed=True, can_retry=False)
    assert (refused.clone_first, refused.changes, refused.adjust) == (True, [], None)


def test_a_suggested_retry_with_more_memory_comes_first() -> None:
    path = f"/jobs/{JOB_ID}/retry"
    action = Action(
        label="Retry with 32 GiB", method="POST", path=path, command="", body={"resources": {"memory_gb": 32}}
    )
    log = Action(label="Read the log", method="GET", path=f"/jobs/{JOB_ID}/logs", command="")
    shown = job_actions.actions(JOB_ID, State.failed, explained(action, log), allowed=True)
    assert [(change.label, change.resources, change.style) for change in shown.changes] == [
        ("Retry with 32 GiB", {"memory_gb": 32}, "primary"), ("Retry", {}, ""),
    ]  # fmt: skip
    assert shown.links == [job_actions.Link("Read the log", f"/ui/jobs/{JOB_ID}/log")]
    assert job_actions.may_change(ALICE, "alice")
    assert not job_actions.may_change(ALICE, "bob")
    assert not job_actions.may_change(Principal("t", "eve", Role.viewer), "eve")
