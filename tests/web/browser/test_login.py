"""Logging in with a browser: by link, by token, from another site; and logging out."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.e2e.running import Running
from tests.web.fixtures import LIMIT_MS, Visit, watch


def test_a_person_without_a_session_logs_in_by_token_and_gets_where_they_wanted(
    browser: Browser, dashboard: Running
) -> None:
    context = browser.new_context()
    context.set_default_timeout(LIMIT_MS)
    visit = watch(context.new_page(), dashboard.api.url)
    page = visit.page
    page.goto(f"{dashboard.api.url}/ui/tokens?")
    # The field takes the focus by itself; a person who is faster makes the browser say so.
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("mcn_wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("this token is unknown").wait_for()
    expect(field).to_be_focused()
    field.fill((dashboard.settings.data_dir / "admin-token").read_text().strip())
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Tokens").wait_for()
    # The first address answers 401 with a page that moves on, and so does the wrong token.
    assert [line for line in visit.console if "401" not in line] == []
    assert visit.foreign == []
    context.close()


OTHER_SITE = "http://another-site.test/"


def test_a_link_from_another_site_works_and_carries_no_authority(visit: Visit) -> None:
    page = visit.page
    links = f'<a href="{visit.base}/ui/tokens">link</a>'
    form = f'<form method="post" action="{visit.base}/ui/logout"><button>send</button></form>'
    page.route(OTHER_SITE, lambda route: route.fulfill(body=links + form, content_type="text/html"))
    statuses: list[tuple[str, int]] = []
    page.on("response", lambda response: statuses.append((response.url, response.status)))
    page.goto(OTHER_SITE)
    page.get_by_text("link").click()
    page.get_by_role("heading", name="Tokens").wait_for()
    # The first request came without the cookie; the page that it got moved on to one that carries it.
    pages = [status for url, status in statuses if url == f"{visit.base}/ui/tokens"]
    assert pages == [401, 200]
    page.goto(OTHER_SITE)
    page.get_by_role("button").click()
    # A form of another site does nothing, and the person ends on a page that exists.
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    visit.open("/ui/tokens")
    page.get_by_role("heading", name="Tokens").wait_for()
    assert all("401" in line for line in visit.console)
    visit.console.clear()
    visit.foreign.clear()


def test_logging_out_ends_the_session(visit: Visit) -> None:
    page = visit.open("/ui/tokens")
    page.get_by_label("Account and settings").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    page.goto(f"{visit.base}/ui/tokens")
    page.get_by_role("heading", name="Log in").wait_for()
    assert [line for line in visit.console if "401" not in line] == []
    visit.console.clear()


def test_the_theme_is_remembered_and_the_page_stays(visit: Visit) -> None:
    page = visit.open("/ui/about")
    page.get_by_label("Account and settings").click()
    page.get_by_role("button", name="Dark colours").click()
    page.wait_for_url("**/ui/about")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(13, 15, 19)"
