"""The page of a job in a browser: it is read, its log is followed, the job is cancelled and deleted."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.running import Running, fusion
from tests.parts import wait_until
from tests.web.fixtures import Visit

pytestmark = pytest.mark.usefixtures("free_devices")


def submit(dashboard: Running, spec: dict[str, Any]) -> str:
    return str(dashboard.api.post("/jobs", json=spec)["id"])


def test_a_job_that_succeeded_is_read_from_top_to_bottom(visit: Visit, dashboard: Running) -> None:
    job_id = submit(dashboard, fusion(epochs=1) | {"name": "<b>two</b> experts"})
    dashboard.wait(job_id, "succeeded")
    page = visit.open(f"/ui/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("<b>two</b> experts")
    expect(page.get_by_text("It succeeded: test accuracy")).to_be_visible()
    expect(page.locator("#evaluation")).to_contain_text("test set")
    expect(page.locator("#model svg.model")).to_contain_text("expert_1")
    page.get_by_text("The same as a table").click()
    expect(page.locator("#model table")).to_contain_text("multiplicative")
    with page.expect_download() as download:
        page.locator("#components").get_by_role("link", name="safetensors").first.click()
    assert download.value.suggested_filename.endswith(".safetensors")
    page.get_by_role("link", name="Given only").click()
    expect(page.locator("#spec")).not_to_contain_text("max_attempts")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/ui/jobs")


def test_a_log_is_followed_until_a_person_scrolls_up(visit: Visit, dashboard: Running) -> None:
    job_id = submit(dashboard, fusion(epochs=600))
    dashboard.wait(job_id, "running")
    page = visit.open(f"/ui/jobs/{job_id}/log")
    page.get_by_role("button", name="Follow").click()
    log = page.locator("[data-log-text]")
    expect(page.get_by_role("button", name="Stop following")).to_be_visible()
    wait_until(lambda: bool(log.evaluate("element => element.scrollTop > 0")), "lines beyond the box", 60.0)
    log.evaluate("element => { element.scrollTop = 0; }")
    button = page.get_by_role("button", name="To the end")
    expect(button).to_be_visible()
    before = len(log.inner_text())
    wait_until(lambda: len(log.inner_text()) > before, "new lines", 60.0)
    assert log.evaluate("element => element.scrollTop") == 0
    button.click()
    expect(page.get_by_role("button", name="Stop following")).to_be_visible()
    page.goto(f"{visit.base}/ui/jobs/{job_id}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-header")).to_contain_text("cancel")
    dashboard.wait(job_id, "cancelled")


def test_a_page_shows_what_happened_before_its_stream_was_open(visit: Visit, dashboard: Running) -> None:
    job_id = submit(dashboard, fusion(epochs=600))
    dashboard.wait(job_id, "running")
    held: list[Route] = []
    visit.page.route("**/events?*", lambda route: held.append(route))
    page = visit.open(f"/ui/jobs/{job_id}")
    expect(page.locator("#job-header")).to_contain_text("running")
    dashboard.api.post(f"/jobs/{job_id}/cancel")
    dashboard.wait(job_id, "cancelled")
    wait_until(lambda: bool(page.evaluate("1") and held), "the request of a stream", 60.0)
    held[0].continue_()
    expect(page.locator("#job-header")).to_contain_text("cancelled")
