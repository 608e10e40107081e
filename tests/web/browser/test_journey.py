"""What a person does with the dashboard from the first login to the last download, on a laptop and on a telephone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.running import Running, expert, fusion
from tests.parts import wait_until
from tests.web.fixtures import LIMIT_MS, Visit, new_context, watch

WIDTHS = (1280, 390)
pytestmark = pytest.mark.usefixtures("free_devices")


@dataclass(frozen=True)
class Jobs:
    """Jobs that have ended, for all widths."""

    first: str
    second: str
    failed: str
    sweep: str


@pytest.fixture(scope="module")
def jobs(dashboard: Running) -> Jobs:
    first = dashboard.submit(fusion(epochs=1) | {"name": "journey first"})
    second = dashboard.submit(fusion(epochs=1, seed=7) | {"name": "journey second"})
    failed = dashboard.submit(expert(epochs=1) | {"name": "journey failed", "dataset": {"name": "cifar10"}})
    grid = {"training.batch_size": [64, 128], "training.epochs": [1, 2]}
    sweep = dashboard.api.post("/sweeps", {"name": "journey sweep", "base": expert(), "grid": grid})["id"]
    for job_id in (first, second):
        dashboard.wait(job_id, "succeeded")
    dashboard.wait(failed, "failed")
    wait_until(lambda: dashboard.api.get(f"/sweeps/{sweep}")["counts"]["succeeded"] == 4, "the end of the sweep", 240.0)
    return Jobs(first, second, failed, str(sweep))


@pytest.fixture(params=WIDTHS)
def seen(browser: Browser, dashboard: Running, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A browser of some width, logged in; it must have logged nothing and requested nothing from another host."""
    context = new_context(browser, dashboard, viewport={"width": request.param, "height": 900})
    visit = watch(context.new_page(), dashboard.api.url)
    yield visit
    context.close()
    assert visit.console == []
    assert visit.foreign == []


def number(page: Page, name: str) -> float:
    """The digits of one of the live numbers in the header."""
    text = page.locator(f"#job-header [data-live={name}]").inner_text()
    return float(re.sub(r"\D", "", text) or 0)


def test_a_job_is_made_watched_and_cancelled(seen: Visit, dashboard: Running) -> None:
    page = seen.open("/ui/new?kind=expert")
    page.get_by_label("Name", exact=True).fill("journey of one")
    page.get_by_label("Epochs", exact=True).fill("4000")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.evaluate("window.same = true")
    job_id = page.url.rpartition("/")[2]
    expect(page.locator("#job-header .state")).to_have_text("running")
    # The bar, the numbers and the curve move. A chart is drawn once it is in sight.
    page.locator("[data-panel=losses]").scroll_into_view_if_needed()
    chart = page.locator("[data-panel=losses] canvas")
    chart.wait_for()
    step, picture = number(page, "step"), chart.screenshot()
    wait_until(lambda: number(page, "step") > step, "another step", 60.0)
    wait_until(lambda: chart.screenshot() != picture, "another curve", 60.0)
    assert page.locator("#job-header progress").evaluate("bar => bar.value") > 0
    # The log is followed.
    page.locator("#log").get_by_role("button", name="Follow").click()
    log = page.locator("[data-log-text]")
    lines = log.inner_text()
    wait_until(lambda: len(log.inner_text()) > len(lines), "another line", 60.0)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-header .state")).to_have_text("cancelled")
    dashboard.wait(job_id, "cancelled")


def test_two_jobs_are_compared(seen: Visit, jobs: Jobs) -> None:
    page = seen.open("/ui/jobs?q=journey&kind=fusion")
    for job_id in (jobs.first, jobs.second):
        page.locator(f"#row-{job_id} input").check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/ui/compare?*")
    main = page.locator("main")
    expect(main).to_contain_text("journey first")
    expect(main).to_contain_text("journey second")
    # The field in which they differ, with both values.
    expect(page.get_by_role("row").filter(has_text="training.seed")).to_contain_text("7")


def test_a_model_is_assembled_from_two_jobs_and_evaluated(seen: Visit, dashboard: Running, jobs: Jobs) -> None:
    page = seen.open("/ui/components?q=journey")
    page.evaluate("sessionStorage.clear()")
    for name, job in (("expert_0", "first"), ("expert_1", "second"), ("fusion", "first"), ("head", "first")):
        page.get_by_label(f"Assemble {name} of journey {job}").check()
        expect(page.locator("#basket")).to_contain_text(f"journey {job} {name}")
    expect(page.locator("#basket")).to_contain_text("These fit together")
    page.get_by_role("link", name="Evaluate together").click()
    page.wait_for_url("**/ui/new?kind=evaluate*")
    page.get_by_label("Name", exact=True).fill("journey assembled")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/jobs/job_*")
    expect(page.locator("#job-header .state")).to_have_text("succeeded", timeout=2 * LIMIT_MS)
    expect(page.locator("#evaluation")).to_contain_text("test set")
    dashboard.wait(page.url.rpartition("/")[2], "succeeded")


def test_the_heat_map_of_a_sweep_leads_to_its_jobs(seen: Visit, jobs: Jobs) -> None:
    page = seen.open("/ui/sweeps")
    page.get_by_role("link", name="journey sweep").first.click()
    page.wait_for_url("**/ui/sweeps/swp_*")
    expect(page.locator(".heat td")).to_have_text([re.compile(r"0\.\d{4}")] * 4)
    expect(page.locator(".heat-best")).to_have_count(1)
    page.locator(".heat td a").first.click()
    page.wait_for_url("**/ui/jobs/job_*")


def test_a_downloaded_component_has_the_shown_sha256(seen: Visit, jobs: Jobs) -> None:
    page = seen.open(f"/ui/jobs/{jobs.first}")
    item = page.locator("#components li").filter(has_text="expert_0").first
    item.get_by_text("SHA-256, commands").click()
    shown = item.locator("dl code").all_inner_texts()
    for link, sha256 in zip((".pth", "safetensors"), shown, strict=True):
        with page.expect_download() as download:
            item.get_by_role("link", name=link).click()
        content = Path(download.value.path()).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256


def test_a_page_says_why_its_job_waits_or_failed(seen: Visit, dashboard: Running, jobs: Jobs) -> None:
    page = seen.open(f"/ui/jobs/{jobs.failed}")
    expect(page.locator(".job-why")).to_contain_text("cifar-10-python.tar.gz")
    long = [dashboard.submit(fusion(epochs=3000)) for _ in range(2)]
    for job_id in long:
        dashboard.wait(job_id, "running")
    queued = dashboard.submit(expert(epochs=1))
    source = {"from": {"job": queued, "component": "expert_0"}}
    waiting = dashboard.submit(fusion(epochs=1) | {"experts": [source], "num_experts": 2})
    page = seen.open(f"/ui/jobs/{queued}")
    expect(page.locator(".job-why")).to_contain_text("in line")
    page = seen.open(f"/ui/jobs/{waiting}")
    expect(page.locator("#job-header")).to_contain_text(queued[-4:])
