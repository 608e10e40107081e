"""The report in a browser: on a telephone the figures are in sight without scrolling."""

from __future__ import annotations

from playwright.sync_api import Browser, Route

from tests.app.api import Service
from tests.app.results.report.test_report import fusion_job, trained_control


def test_the_figures_of_controls_are_in_sight_on_a_telephone(browser: Browser, service: Service) -> None:
    job_id = fusion_job(service)
    for k in range(4):
        trained_control(service, job_id, f"single_{k}", 4 + k, position=k)

    def answer(route: Route) -> None:
        response = service.get(route.request.url.removeprefix("http://report.test"))
        route.fulfill(status=response.status_code, body=response.content, content_type=response.headers["content-type"])

    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.route("**/*", answer)
    page.goto(f"http://report.test/ui/jobs/{job_id}/report")
    row = page.locator("tr", has_text="deep ensemble of 4 networks")
    assert row.locator("a").count() == 4
    box = row.locator("td").first.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] < 390
    page.close()
