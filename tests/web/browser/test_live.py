"""Live pages: the API dies and comes back, parts cannot be refreshed, and updates leave what a person has set."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import Page, Route, expect

from app.http.errors import Unavailable
from tests.e2e.running import Running, fusion
from tests.parts import wait_until
from tests.web.browser.test_charts import drag, plot
from tests.web.fixtures import Visit

# Refreshes a part of the page many times, each after the one before, as events would.
REFRESH = """async ([id, times]) => {
    for (let i = 0; i < times; i += 1) {
        const done = new Promise((resolve) => document.addEventListener("htmx:finally:request", resolve, {once: true}));
        document.dispatchEvent(new CustomEvent("mcn:refresh", {detail: {part: document.getElementById(id)}}));
        await done;
    }
}"""


pytestmark = pytest.mark.usefixtures("free_devices")


@pytest.fixture
def running_job(dashboard: Running) -> str:
    """A job that trains until the test ends."""
    job_id = dashboard.submit(fusion(epochs=3000) | {"name": "a long one"})
    dashboard.wait_step(job_id, 30)
    return job_id


def content(page: Page) -> str:
    """The text of the page without ages, which change by themselves."""
    return re.sub(r"\d+ (s|min) ago", "ago", page.locator("main").inner_text())


def test_a_page_comes_back_after_the_api_was_killed(visit: Visit, dashboard: Running, running_job: str) -> None:
    # Charts out of sight are not kept up to date.
    visit.page.set_viewport_size({"width": 1280, "height": 8000})
    page = visit.open(f"/ui/jobs/{running_job}")
    badge = page.locator("#live")
    expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))
    page.evaluate("window.same = true")
    page.route(re.compile("/events"), lambda route: route.abort())
    dashboard.kill("api")
    expect(badge).to_contain_text(re.compile(r"connection lost \d+ s ago, showing .*, trying again"))
    # What is sent now would end on the browser's page about the error.
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Nothing was sent: there is no connection")).to_be_visible()
    page.unroute_all()
    expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))
    dashboard.api.post(f"/jobs/{running_job}/cancel")
    dashboard.wait(running_job, "cancelled")
    expect(page.locator("#job-header .state")).to_have_text("cancelled")
    assert page.evaluate("window.same")
    fresh = page.context.new_page()
    fresh.set_viewport_size({"width": 1280, "height": 8000})
    fresh.goto(page.url)
    plot(fresh, "losses").wait_for()
    plot(page, "losses").wait_for()
    wait_until(lambda: content(page) == content(fresh), "the content of a new page", 60.0)
    assert all(re.search("ERR_|htmx", line) for line in visit.console)
    visit.console.clear()


def test_a_page_whose_stream_is_open_says_that_the_database_is_away(visit: Visit) -> None:
    page = visit.open("/ui/sweeps")
    badge = page.locator("#live")
    expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))
    part = "database"

    def answer(route: Route) -> None:
        trouble = Unavailable("", errors=[{"loc": [part], "msg": "is not reachable"}])
        route.fulfill(status=503, json=trouble.body(), content_type="application/problem+json")

    page.route("**/readyz", answer)
    expect(badge).to_contain_text(re.compile("service not available, showing .*, trying again"), timeout=15_000)
    page.evaluate("document.body.append(document.createElement('form')); document.forms[0].requestSubmit()")
    expect(page.get_by_text("Nothing was sent: the service is not available")).to_be_visible()
    # Without its disk, the service still has events.
    part = "disk"
    with page.expect_response("**/ui/-/sweeps*"):
        expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))
    assert all("503" in line for line in visit.console)
    visit.console.clear()


def test_a_page_says_that_the_service_stands_still(visit: Visit, dashboard: Running) -> None:
    page = visit.open("/ui/sweeps")
    badge = page.locator("#live")
    expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))
    pid = dashboard.pid("api")
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        expect(badge).to_contain_text("service not available", timeout=20_000)
    finally:
        os.kill(pid, signal.SIGCONT)
    expect(badge).to_have_text(re.compile(r"^live \d+ s ago$"))


def test_a_hundred_updates_leave_what_a_person_has_set(visit: Visit, dashboard: Running, running_job: str) -> None:
    page = visit.open(f"/ui/jobs/{running_job}")
    # Charts out of sight are not drawn.
    page.locator("[data-panel=losses]").scroll_into_view_if_needed()
    plot(page, "losses").wait_for()
    drag(page, "losses")
    zoomed = page.url
    page.get_by_text("The same as a table").click()
    filter_charts = page.get_by_label("Filter charts")
    filter_charts.fill("loss")
    page.wait_for_url("**charts=loss**")
    filter_charts.evaluate("element => element.setSelectionRange(1, 3)")
    page.evaluate("scrollBy({top: 120, behavior: 'instant'})")
    place = page.evaluate("scrollY")
    for part in ("job-header", "model", "evaluation", "attempts", "components", "log", "events"):
        page.evaluate(REFRESH, [part, 15])
    assert filter_charts.evaluate(
        "element => [document.activeElement === element, element.value, element.selectionStart, element.selectionEnd]"
    ) == [True, "loss", 1, 3]
    assert page.evaluate("scrollY") == place
    assert page.locator("#model details").first.get_attribute("open") is not None
    assert page.url.startswith(zoomed)
    page.get_by_role("button", name="Reset zoom").wait_for()


def test_a_part_that_cannot_be_refreshed_says_since_when_and_why(
    visit: Visit, dashboard: Running, running_job: str
) -> None:
    page = visit.open("/ui/jobs?q=a+long+one")
    listed = page.locator("#jobs-list")
    row = page.locator(f"#row-{running_job}")
    expect(row).to_be_visible()
    page.route("**/ui/-/jobs?*", lambda route: route.abort())
    page.evaluate(REFRESH, ["jobs-list", 1])
    expect(listed.locator(".stale-note")).to_have_text(
        re.compile(r"Showing .*\. Not refreshed: the service is not reachable\. Retry")
    )
    expect(row).to_be_visible()
    page.unroute("**/ui/-/jobs?*")
    page.get_by_role("button", name="Retry").click()
    expect(listed.locator(".stale-note")).to_have_count(0)
    assert listed.get_attribute("data-stale") is None
    # An answer that is an error gives its reason.
    gone = "document.getElementById('jobs-list').dataset.liveSrc = '/ui/-/jobs/job_01AAAAAAAAAAAAAAAAAAAAAAAA/header'"
    page.evaluate(gone)
    page.evaluate(REFRESH, ["jobs-list", 1])
    expect(listed.locator(".stale-note")).to_contain_text("Not refreshed: there is no job")
    expect(row).to_be_visible()
    assert all(re.search("ERR_FAILED|404|htmx", line) for line in visit.console)
    visit.console.clear()
