"""Every page, in light and dark, on a telephone, a laptop and a large screen: accessible, without overflow or noise."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from app.web.render import THEME_COOKIE
from tests.e2e.running import Running, expert, fusion
from tests.web.fixtures import Visit, new_context

WIDTHS = (390, 1280, 2560)
# What the budgets allow on one page.
MAX_NODES = 2_500
PAGES = (
    "/ui/jobs",
    "/ui/jobs?q=nothing+matches",
    "/ui/jobs?sweep=none&sort=-priority",
    "/ui/jobs/{job}",
    "/ui/jobs/{job}?spec=given",
    "/ui/jobs/{job}/log",
    "/ui/jobs/{job}/report",
    "/ui/jobs/{job}/curves",
    "/ui/jobs/{failed}",
    "/ui/new",
    "/ui/new?kind=expert",
    "/ui/new?kind=evaluate",
    "/ui/new?from={job}",
    "/ui/compare?job={job}~0&job={other}~1",
    "/ui/compare?job={job}~0&add=job_",
    "/ui/compare/pair?a={job}&b={job}:expert_0",
    "/ui/sweeps",
    "/ui/sweeps/new",
    "/ui/components",
    "/ui/components?q=nothing",
    "/ui/cluster",
    "/ui/tokens",
    "/ui/about",
)


@pytest.fixture(scope="module")
def jobs(dashboard: Running) -> dict[str, str]:
    """A fusion job with everything, another one to compare with, and one that failed."""
    long = "a name that is long enough to need more than one line on a telephone " * 2
    ids = {
        "job": dashboard.submit(fusion(epochs=3) | {"name": "seen on every page", "tags": ["demo"]}),
        "other": dashboard.submit(expert(epochs=2) | {"name": long[:200]}),
        "failed": dashboard.submit(expert(epochs=1) | {"dataset": {"name": "cifar10"}}),
    }
    for name, job_id in ids.items():
        dashboard.wait(job_id, "failed" if name == "failed" else "succeeded")
    return ids


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_and_fits(visit: Visit, jobs: dict[str, str], path: str) -> None:
    page = visit.page
    for theme in ("light", "dark"):
        page.context.add_cookies([{"name": THEME_COOKIE, "value": theme, "url": visit.base}])
        visit.open(path.format(**jobs))
        page.locator("h1").first.wait_for()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert findings(page) == [], (theme, width)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (theme, width)
            assert page.evaluate("document.querySelectorAll('*').length") <= MAX_NODES


@pytest.mark.parametrize("path", ["/login", "/login?next=/ui/tokens", "/login/once/abc"])
def test_a_page_before_the_login_is_accessible_and_fits(browser: Browser, dashboard: Running, path: str) -> None:
    for theme in ("light", "dark"):
        context = browser.new_context(color_scheme="dark" if theme == "dark" else "light")
        page = context.new_page()
        page.goto(dashboard.api.url + path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert findings(page) == [], (theme, width)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (theme, width)
        context.close()


def test_every_page_is_read_without_scripts(browser: Browser, dashboard: Running, jobs: dict[str, str]) -> None:
    plain = new_context(browser, dashboard, java_script_enabled=False, viewport={"width": 390, "height": 900})
    scripted = new_context(browser, dashboard)
    pages = {"without": plain.new_page(), "with": scripted.new_page()}
    # Scripts load the device-hours after the page; without them, a link does.
    for path in [*(path for path in PAGES if path != "/ui/cluster"), "/ui/cluster?usage=now"]:
        seen = {}
        for name, page in pages.items():
            page.goto(dashboard.api.url + path.format(**jobs))
            texts = page.locator("main :is(h1, h2, h3)").all_inner_texts()
            seen[name] = (texts, page.locator("main tbody tr").count())
        if path.startswith(("/ui/new", "/ui/sweeps/new")):
            # Scripts fill the plan, which comes last; without them, Check does.
            headings = seen["without"][0]
            assert headings == seen["with"][0][: len(headings)], path
        else:
            assert seen["without"] == seen["with"], path
        assert pages["without"].evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
    plain.close()
    scripted.close()


def findings(page: Page) -> list[str]:
    """What axe finds wrong, with the elements."""
    violations = Axe().run(page).response["violations"]
    return [f"{entry['id']}: {[node['html'][:120] for node in entry['nodes'][:3]]}" for entry in violations]
