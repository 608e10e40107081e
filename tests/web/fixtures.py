"""A running service with a dashboard, and browser pages that must not complain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    expect,
    sync_playwright,
)

from app.cli.client import TERMINAL_STATES, ApiError
from tests.e2e.running import Running
from tests.machine import find

# Debian's Chromium runs as root only without its sandbox; the rest keeps it from calling home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIMIT_MS = 60_000
expect.set_options(timeout=LIMIT_MS)


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with two CPU slots, shared by all tests of this process; each test submits jobs of its own."""
    running = Running(tmp_path_factory.mktemp("dashboard"), MCN_DEVICES="cpu:0,cpu:1")
    running.start()
    yield running
    running.stop()
    # Training outlives the service; what a failed test left must not slow down those that follow.
    for process in running.training():
        process.kill()


@pytest.fixture
def free_devices(dashboard: Running) -> Iterator[None]:
    """Cancels what still holds or waits for a device after a test, so that a failed one does not block the next."""
    yield
    for job in dashboard.api.get("/jobs", limit=200)["items"]:
        if job["state"] not in TERMINAL_STATES:
            with suppress(ApiError):  # it may just have ended
                dashboard.api.post(f"/jobs/{job['id']}/cancel")
            dashboard.wait(job["id"])


# Not for the whole session: while it is open, Playwright's event loop runs, and no other test could run one.
@pytest.fixture(scope="module")
def playwright_driver() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright_driver: Playwright) -> Iterator[Browser]:
    program = find("chromium")
    if program is None:
        pytest.skip("needs Chromium")
    browser = playwright_driver.chromium.launch(executable_path=program, args=ARGUMENTS)
    yield browser
    browser.close()


@dataclass
class Visit:
    """A browser page, with what it logged and which other hosts it asked for."""

    page: Page
    base: str
    console: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Goes to a path of the dashboard."""
        self.page.goto(self.base + path)
        return self.page


def new_context(browser: Browser, running: Running, **options: object) -> BrowserContext:
    """A browser context that is logged in by a one-time link."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    page.goto(running.api.post("/login-links")["url"])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/ui/**")
    page.close()
    return context


def watch(page: Page, base: str) -> Visit:
    """Records console messages, script errors and requests to other hosts of a page."""
    visit = Visit(page, base)

    def on_console(message: ConsoleMessage) -> None:
        visit.console.append(f"{message.type}: {message.text}")

    def on_request(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(base).netloc and not request.url.startswith(("data:", "blob:")):
            visit.foreign.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: visit.console.append(f"error: {error}"))
    page.on("request", on_request)
    return visit


@pytest.fixture
def visit(browser: Browser, dashboard: Running) -> Iterator[Visit]:
    """A page of a logged-in browser; at the end it must have logged nothing and asked no other host."""
    context = new_context(browser, dashboard)
    visit = watch(context.new_page(), dashboard.api.url)
    yield visit
    context.close()
    assert visit.console == []
    assert visit.foreign == []
