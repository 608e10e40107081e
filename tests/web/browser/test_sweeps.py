"""The pages of sweeps and of the cluster in a browser: they follow the jobs, and fit every width and theme."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from app.web.render import THEME_COOKIE
from tests.e2e.running import Running, expert
from tests.web.fixtures import LIMIT_MS, Visit

HOSTILE = "<script>alert(1)</script> " + "long" * 40


@pytest.fixture(scope="module")
def sweep_id(dashboard: Running) -> str:
    grid = {"training.components.experts.lr": [0.1, 0.01], "training.batch_size": [64, 128], "training.seed": [1, 2]}
    body = {"name": HOSTILE[:200], "base": expert(epochs=1), "grid": grid, "max_parallel": 1}
    return str(dashboard.api.post("/sweeps", body)["id"])


def test_a_sweep_follows_its_jobs_without_a_reload(visit: Visit, dashboard: Running, sweep_id: str) -> None:
    page = visit.open(f"/ui/sweeps/{sweep_id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    page.evaluate("window.same = true")
    expect(page.locator("#sweep-counts")).to_contain_text("8 of 8 jobs finished", timeout=2 * LIMIT_MS)
    expect(page.locator(".heat td")).to_have_text([re.compile(r"0\.\d{4}\s+± .* · n = 2")] * 4)
    expect(page.locator(".heat-best")).to_have_count(1)
    assert page.evaluate("window.same")
    # A slice by rows and columns, and the way back.
    page.get_by_label("Rows").select_option("training.seed")
    page.get_by_label("Metric").select_option("test/accuracy_expert_0")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("heading", name="test/accuracy_expert_0 by seed and batch_size")).to_be_visible()
    expect(page.get_by_label("Rows")).to_have_value("training.seed")
    page.go_back()
    expect(page.get_by_role("heading", name="val/accuracy_expert_0 by lr and batch_size")).to_be_visible()
    page.get_by_role("link", name="succeeded").click()
    expect(page.locator("tr[data-row]")).to_have_count(8)


@pytest.mark.usefixtures("free_devices")
def test_the_cluster_shows_a_job_from_its_start_to_its_end(visit: Visit, dashboard: Running) -> None:
    page = visit.open("/ui/cluster")
    job_id = dashboard.submit(expert(epochs=3000) | {"name": "on a device"})
    device = page.locator(f"[data-progress-of={job_id}]")
    device.get_by_text("on a device").wait_for()
    expect(device.locator("[data-live=percent]")).to_have_text(re.compile(r"\d+ %"))
    dashboard.api.post(f"/jobs/{job_id}/cancel")
    dashboard.wait(job_id, "cancelled")
    expect(device).to_have_count(0)
    expect(page.get_by_text("free", exact=True).first).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_are_accessible_and_fit_every_width(
    visit: Visit, dashboard: Running, sweep_id: str, theme: str
) -> None:
    visit.page.context.add_cookies([{"name": THEME_COOKIE, "value": theme, "url": visit.base}])
    for path in ("/ui/sweeps", f"/ui/sweeps/{sweep_id}", "/ui/cluster"):
        page = visit.open(path)
        for width in (390, 1280, 2560):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == width, (path, width)
        assert violations(page) == [], path


def test_a_narrow_screen_shows_the_swept_values_of_the_leaderboard(visit: Visit, sweep_id: str) -> None:
    page = visit.open(f"/ui/sweeps/{sweep_id}")
    page.set_viewport_size({"width": 390, "height": 900})
    table = page.get_by_role("group", name="Leaderboard").locator("table")
    header = table.locator("th").all_inner_texts()
    assert header[:3] == ["Rank", "lr", "batch_size"]
    for cell in table.locator("tbody tr").first.locator("td").all()[:3]:
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390


def violations(page: Page) -> list[str]:
    """What axe finds wrong, with the elements."""
    results = Axe().run(page)
    return [
        f"{violation['id']}: {[node['html'][:200] for node in violation['nodes'][:3]]}"
        for violation in results.response["violations"]
    ]
