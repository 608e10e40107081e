"""The form of a new job and the basket of components in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.e2e.running import Running, expert
from tests.web.fixtures import LIMIT_MS, Visit, new_context


def test_form_text_and_plan_follow_one_another(visit: Visit) -> None:
    page = visit.open("/ui/new")
    text = page.get_by_label("JSON or YAML")
    page.get_by_label("Epochs", exact=True).fill("3")
    start = "kind: fusion\nexperts:\n- arch: convnet_small\nnum_experts: 4\ndataset:\n  name: digits\n"
    expect(text).to_have_value(f"{start}training:\n  epochs: 3\n", timeout=LIMIT_MS)
    page.get_by_label("Epochs", exact=True).fill("many")
    error = page.locator('[data-error="training.epochs"]')
    expect(error).to_contain_text("must be an integer", timeout=LIMIT_MS)
    assert page.get_by_label("Epochs", exact=True).get_attribute("aria-invalid") == "true"
    text.fill("kind: fusion\nexperts: [{arch: resnet18}, {arch: convnet_small}]\ntraining: {epochs: 5}\nname: typed")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("5", timeout=LIMIT_MS)
    expect(error).to_be_hidden()
    assert page.locator('[name="experts.1.arch"]').input_value() == "convnet_small"
    assert page.get_by_label("this text").is_checked()
    expect(page.locator("#plan")).to_contain_text("512, 64")
    # What was typed is still there in the next visit, however late timers run, and goes when it is discarded.
    visit.open("/ui/about")
    page.add_init_script("const timer = setTimeout; window.setTimeout = (run, ms = 0) => timer(run, ms + 500)")
    page = visit.open("/ui/new")
    expect(page.get_by_label("Name", exact=True)).to_have_value("typed", timeout=LIMIT_MS)
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("10", timeout=LIMIT_MS)


@pytest.mark.parametrize("path", ["/ui/new", "/ui/sweeps/new"])
def test_plan_and_buttons_stay_in_sight_and_hide_no_field(visit: Visit, path: str) -> None:
    page = visit.page
    page.set_viewport_size({"width": 1280, "height": 800})
    visit.open(path)
    submit, plan = page.get_by_role("button", name="Submit"), page.locator(".side")
    page.locator("#plan .facts").wait_for()
    for _ in range(2):
        expect(submit).to_be_in_viewport(ratio=1)
        expect(plan).to_be_in_viewport(ratio=1)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.set_viewport_size({"width": 390, "height": 700})
    bar = page.locator(".actions").bounding_box()
    assert bar
    for field in page.locator("form :is(input, select, textarea, summary):visible").all():
        field.focus()
        box = field.bounding_box()
        assert box
        # A tall text shows its upper lines.
        assert box["y"] + min(box["height"], 60) <= bar["y"], field.get_attribute("id")
    expect(submit).to_be_in_viewport(ratio=1)


def test_on_a_telephone_the_bar_counts_errors_and_leads_to_them(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 700})
    visit.open("/ui/new")
    page.get_by_label("Epochs", exact=True).fill("many")
    page.get_by_role("link", name="1 error").click()
    expect(page.locator("#errors-title")).to_be_in_viewport()
    page.get_by_label("Epochs", exact=True).fill("3")
    expect(page.get_by_role("link", name="Plan")).to_be_visible()


def test_a_job_is_submitted_and_its_component_goes_into_the_basket(visit: Visit, dashboard: Running) -> None:
    page = visit.open("/ui/new?kind=expert")
    page.get_by_label("Name", exact=True).fill("for the basket")
    page.get_by_label("Epochs", exact=True).fill("1")
    page.get_by_role("button", name="Submit").dblclick()
    page.wait_for_url("**/ui/jobs/job_*")
    jobs = [job for job in dashboard.api.get("/jobs?q=for+the+basket")["items"] if job["name"] == "for the basket"]
    assert len(jobs) == 1
    dashboard.wait(jobs[0]["id"], "succeeded")
    page = visit.open("/ui/components?q=for+the+basket")
    page.get_by_label("Assemble expert_0 of for the basket").check()
    basket = page.locator("#basket")
    expect(basket).to_contain_text("These fit together", timeout=LIMIT_MS)
    # It is kept while other filters are shown.
    page = visit.open("/ui/components?role=head")
    expect(basket).to_contain_text("for the basket", timeout=LIMIT_MS)
    page.get_by_role("link", name="New fusion").click()
    page.wait_for_url("**/ui/new?kind=fusion&experts=cmp_*")
    expect(page.locator("#plan")).to_contain_text("Learning rates")


def test_a_draft_is_kept_until_its_job_is_created(visit: Visit, dashboard: Running) -> None:
    page = visit.open("/ui/new?kind=expert")
    name, text = page.get_by_label("Name", exact=True), page.get_by_label("JSON or YAML")
    name.fill("kept while away")
    expect(text).to_have_value(re.compile("name: kept while away"))
    away = "<!doctype html><title>Service unavailable</title><h1>Service unavailable</h1>"

    def answer(route: Route) -> None:
        if route.request.method == "POST":
            route.fulfill(status=503, content_type="text/html", body=away)
        else:
            route.continue_()

    page.route("**/ui/new*", answer)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="Service unavailable")).to_be_visible()
    # A job's page that is opened then is not that of a success.
    other = dashboard.api.post("/jobs", expert() | {"name": "another one"})["id"]
    dashboard.api.post(f"/jobs/{other}/cancel")
    visit.open(f"/ui/jobs/{other}")
    page = visit.open("/ui/new?kind=expert")
    expect(page.get_by_text("Your draft was restored.")).to_be_visible()
    expect(name).to_have_value("kept while away")
    page.unroute_all()
    # A refusal keeps it too.
    text.fill(text.input_value() + "\nunknown_field: 1\n")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#errors-title")).to_be_visible()
    page = visit.open("/ui/new?kind=expert")
    expect(text).to_have_value(re.compile("unknown_field: 1"))
    text.fill(text.input_value().replace("\nunknown_field: 1\n", ""))
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/jobs/job_*")
    dashboard.api.post(f"/jobs/{page.url.rpartition('/')[2]}/cancel")
    page.wait_for_function("localStorage.getItem('mcn.draft.expert') === null")
    page = visit.open("/ui/new?kind=expert")
    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("Your draft was restored.")).to_be_hidden()
    expect(name).to_have_value("")
    assert all(re.search("503|422", line) for line in visit.console), visit.console
    visit.console.clear()


def test_without_javascript_a_job_is_checked_and_submitted(browser: Browser, dashboard: Running) -> None:
    context = new_context(browser, dashboard, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{dashboard.api.url}/ui/new")
    page.get_by_role("button", name="Add an expert").click()
    page.locator('[name="experts.1.arch"]').fill("unknown")
    page.get_by_role("button", name="Check").click()
    assert "choose one of resnet18" in page.locator('[data-error="experts.1.arch"]').inner_text()
    page.locator('[name="experts.1.arch"]').fill("convnet_small")
    page.get_by_label("Number of experts").fill("")
    page.get_by_label("Name", exact=True).fill("without scripts")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url("**/ui/jobs/job_*")
    job = dashboard.api.get("/jobs?q=without+scripts")["items"][0]
    assert len(job["spec"]["experts"]) == 2
    dashboard.api.post(f"/jobs/{job['id']}/cancel")
    context.close()
