"""Charts in a browser: they replace the server's drawings, zoom with the address, and never move what a person set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page
from sqlalchemy import delete, update

from app.db import make_engine, now, transaction
from app.models import Attempt, Job
from app.results.metrics import store
from tests.e2e.running import Running, fusion
from tests.web.fixtures import LIMIT_MS, Visit, new_context

# Keeps every text that is drawn into a canvas, in pixels of the canvas.
RECORD_TEXTS = """
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  (window.drawnTexts ??= []).push({ text, x, y, width: this.measureText(text).width });
  return fillText.apply(this, arguments);
};
"""


@pytest.fixture(scope="module")
def job(dashboard: Running) -> str:
    """A job that has ended, with some hundred steps."""
    spec = fusion(epochs=2, batch_size=8)
    spec["dataset"] = {"name": "digits", "split": {"regime": "iid", "num_shards": 4, "holdout": 0.5, "seed": 1}}
    job_id = str(dashboard.api.post("/jobs", spec)["id"])
    dashboard.wait(job_id, "succeeded")
    return job_id


@pytest.fixture(scope="module")
def resumed_job(dashboard: Running) -> str:
    """A stored job that ended in its sixth attempt; some resumed from steps close to one another."""
    job_id = str(dashboard.api.post("/jobs", fusion(epochs=30) | {"name": "six attempts"})["id"])
    dashboard.api.post(f"/jobs/{job_id}/cancel")
    dashboard.wait(job_id, "cancelled")
    steps = np.arange(10, 2_000, 10)
    began = now() - timedelta(hours=6)
    times = began.timestamp() + steps * 10.0
    values = {f"val/accuracy_{name}": 1 - np.exp(-steps / scale) for name, scale in (("fused", 300), ("expert_0", 500))}
    values |= {"train/loss_total": 30 / (steps + 10), "train/loss_global": 20 / (steps + 10)}
    engine = make_engine(dashboard.settings.sqlalchemy_url)
    with transaction(engine) as session:
        session.execute(delete(Attempt).where(Attempt.job_id == job_id))  # type: ignore[arg-type]
        progress = {"step": 1_990, "steps": 2_000, "epoch": 30, "epochs": 30}
        session.execute(update(Job).where(Job.id == job_id).values(attempt=6, progress=progress))  # type: ignore[arg-type]
        for number, step in enumerate((None, 200, 1_372, 1_380, 1_500, 1_990), 1):
            start = began + timedelta(hours=number - 1)
            session.add(
                Attempt(
                    job_id=job_id, number=number, executor="local", host="here", devices=["cpu:0"], started_at=start,
                    ended_at=start + timedelta(minutes=50), resumed_from_step=step, last_step=step or 200,
                    outcome="lost", reason="preempted",
                )
            )  # fmt: skip
        store.append(session, job_id, {key: store.Block(steps, series, times) for key, series in values.items()})
    engine.dispose()
    return job_id


def plot(page: Page, panel: str) -> Locator:
    return page.locator(f"[data-panel={panel}] .u-over")


def drag(page: Page, panel: str) -> None:
    plot(page, panel).scroll_into_view_if_needed()
    box = plot(page, panel).bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
    page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=4)
    page.mouse.up()
    page.wait_for_url("**from=*to=*")


def test_a_zoom_is_in_the_address_and_back_zooms_out(visit: Visit, job: str) -> None:
    page = visit.open(f"/ui/jobs/{job}/curves")
    plot(page, "losses").wait_for()
    drag(page, "losses")
    zoomed = page.url
    page.get_by_role("button", name="Reset zoom").wait_for()
    page.reload()
    plot(page, "losses").wait_for()
    assert page.url == zoomed
    page.go_back()
    page.wait_for_url(f"**/{job}/curves")
    page.get_by_role("button", name="Reset zoom").wait_for(state="hidden")
    page.go_forward()
    plot(page, "losses").dblclick()
    page.wait_for_url(f"**/{job}/curves")


def test_the_view_is_in_the_address_and_charts_are_filtered_by_text(visit: Visit, job: str) -> None:
    page = visit.open(f"/ui/jobs/{job}/curves")
    plot(page, "losses").wait_for()
    page.get_by_label("x axis").select_option("epoch")
    page.get_by_label("y axis").select_option("log")
    page.get_by_label("focus").check()
    page.get_by_label("Filter charts").fill("LOSS_TOTAL")
    page.wait_for_url("**/curves?x=epoch&y=log&focus=1&charts=LOSS_TOTAL")
    assert page.locator(".chart-panel:visible").count() == 1
    page.get_by_label("Filter charts").fill("nothing has this")
    page.get_by_text("No chart matches this text.").wait_for()


def test_folded_charts_are_fetched_once_a_person_opens_them_and_stay_open(visit: Visit, job: str) -> None:
    page = visit.page
    series: list[str] = []
    page.on("request", lambda request: series.append(request.url) if "/series" in request.url else None)
    visit.open(f"/ui/jobs/{job}")
    page.locator("[data-panel=losses]").scroll_into_view_if_needed()
    plot(page, "losses").wait_for()
    page.wait_for_load_state("networkidle")
    assert not any("lr%2F" in url for url in series)
    page.get_by_text("More charts").click()
    page.locator("[data-panel=rates]").scroll_into_view_if_needed()
    plot(page, "rates").wait_for()
    with page.expect_response("**/ui/-/curves?*"):
        page.evaluate("document.dispatchEvent(new CustomEvent('mcn:reconnected'))")
    page.wait_for_load_state("networkidle")
    assert plot(page, "rates").is_visible()
    # A text that finds a folded chart opens it.
    visit.open(f"/ui/jobs/{job}?charts=gradient+norm")
    page.locator("[data-panel=gradient]").scroll_into_view_if_needed()
    plot(page, "gradient").wait_for()


def test_the_keyboard_moves_along_a_chart(visit: Visit, job: str) -> None:
    page = visit.open(f"/ui/jobs/{job}/curves")
    plot(page, "losses").wait_for()
    page.locator("[data-panel=losses] .chart").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator("[data-panel=losses] .readout tr").count() >= 4
    # The cross-hair is in all charts.
    assert page.locator("[data-panel=rates] .readout").is_visible()
    page.keyboard.press("+")
    page.wait_for_url("**from=*to=*")
    page.keyboard.press("0")
    page.wait_for_url(f"**/{job}/curves")
    page.keyboard.press("s")
    page.wait_for_url("**?smooth=50")


@pytest.mark.parametrize("width", [390, 1280])
def test_texts_of_marks_do_not_overlap(visit: Visit, resumed_job: str, width: int) -> None:
    page = visit.page
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(RECORD_TEXTS)
    visit.open(f"/ui/jobs/{resumed_job}/curves?charts=accuracy")
    plot(page, "accuracy").wait_for()
    page.wait_for_load_state("networkidle")
    drawn: list[dict[str, Any]] = page.evaluate("drawnTexts")
    texts = {
        text["text"]: text
        for text in drawn
        if text["text"].startswith(("attempt ", "best accuracy", "highest accuracy"))
    }
    assert len(texts) >= 3
    assert any("accuracy: epoch" in text for text in texts)
    for text in texts.values():
        for other in texts.values():
            is_beside = text["x"] + text["width"] < other["x"] or other["x"] + other["width"] < text["x"]
            assert text is other or is_beside or abs(text["y"] - other["y"]) >= 12, (text, other)


def test_new_values_never_move_a_zoomed_view(visit: Visit, job: str) -> None:
    page = visit.open(f"/ui/jobs/{job}/curves")
    plot(page, "losses").wait_for()
    drag(page, "losses")
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    page.locator(".readout:visible").first.wait_for(state="hidden")
    before = page.locator("[data-panel=losses] canvas").screenshot()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "/series" in request.url else None)
    page.evaluate(
        "job => { for (let i = 0; i < 100; i += 1)"
        " document.dispatchEvent(new CustomEvent('mcn:metrics', {detail: {job}})) }",
        job,
    )
    page.get_by_role("button", name="live →").wait_for()
    assert requests == []
    assert page.locator("[data-panel=losses] canvas").screenshot() == before
    page.get_by_role("button", name="live →").click()
    page.wait_for_url(f"**/{job}/curves")


def test_a_failed_request_is_told_in_the_chart_and_tried_again(visit: Visit, job: str) -> None:
    page = visit.page
    page.route("**/series?*", lambda route: route.abort())
    visit.open(f"/ui/jobs/{job}/curves?charts=rates")
    page.get_by_text("Not loaded: the service is not reachable").wait_for()
    # The server's drawing is still there.
    assert page.locator("[data-panel=rates] .chart-svg").is_visible()
    page.unroute("**/series?*")
    page.get_by_role("button", name="Retry").click()
    plot(page, "rates").wait_for()
    assert all("ERR_FAILED" in line for line in visit.console)
    visit.console.clear()


def test_charts_and_their_values_are_there_without_scripts(visit: Visit, dashboard: Running, job: str) -> None:
    browser = visit.page.context.browser
    assert browser
    context = new_context(browser, dashboard)
    state = context.storage_state()
    context.close()
    context = browser.new_context(java_script_enabled=False, storage_state=state)
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    page.goto(f"{dashboard.api.url}/ui/compare?job={job}")
    assert page.locator(".chart-svg .line").count() > 3
    page.get_by_text("Values").first.click()
    page.get_by_role("columnheader", name="Best").first.wait_for()
    context.close()
