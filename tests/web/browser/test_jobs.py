"""The list of jobs in a browser: it follows a job without a reload, and actions work from the keyboard."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.running import Running, expert
from tests.web.fixtures import LIMIT_MS, Visit


def test_a_row_follows_its_job_without_a_reload(visit: Visit, dashboard: Running) -> None:
    page = visit.open("/ui/jobs?q=followed+row")
    page.get_by_text("No job matches these filters").wait_for()
    page.evaluate("window.same = true")
    job_id = dashboard.submit(expert(epochs=2) | {"name": "followed row"})
    row = page.locator(f"#row-{job_id}")
    row.wait_for()
    expect(row.locator(".state")).to_have_text("succeeded", timeout=LIMIT_MS)
    assert page.evaluate("window.same")


def test_a_table_does_not_move_while_a_row_is_selected(visit: Visit, dashboard: Running) -> None:
    first = dashboard.submit(expert(epochs=1) | {"name": "held row"})
    dashboard.wait(first)
    page = visit.open("/ui/jobs?q=held+row")
    page.locator(f"#row-{first} input").check()
    second = dashboard.submit(expert(epochs=1) | {"name": "held row"})
    page.get_by_role("button", name="Updates").wait_for()
    assert page.locator(f"#row-{second}").count() == 0
    page.get_by_role("button", name="Updates").click()
    page.locator(f"#row-{second}").wait_for()
    assert page.locator(f"#row-{first} input").is_checked()
    dashboard.wait(second)


def test_the_keyboard_moves_selects_and_filters(visit: Visit, dashboard: Running) -> None:
    dashboard.wait(dashboard.submit(expert(epochs=1) | {"name": "by keyboard"}))
    page = visit.open("/ui/jobs?q=by+keyboard")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-selected-count]")).to_have_text("1")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    page.get_by_role("heading", name="Keyboard shortcuts").wait_for()
