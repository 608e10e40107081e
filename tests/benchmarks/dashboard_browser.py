"""What a browser sees of the dashboard: bytes of a visit, the time of a zoom, elements of a page."""

from __future__ import annotations

import statistics
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from app.auth.sessions import COOKIE
from app.settings import Settings
from tests.benchmarks.dashboard_data import COMPARED_KEYS, Data
from tests.benchmarks.measures import Row, row
from tests.machine import find
from tests.web.fixtures import ARGUMENTS

ZOOMS = 15
LIMIT_MS = 60_000
QUIET_MS = 300
POLL_MS = 50
FIRST_KB, LATER_KB, ZOOM_MS, MAX_NODES = 140, 20, 100, 2_500
# Records for each zoom the milliseconds from its request, and from the end of the drag, until its frame is on screen.
# uPlot clears the canvas when it draws; the first time after the answer came is the drawing of the new data.
_STOPWATCH = """
(() => {
  const [fetchNow, clear] = [window.fetch, CanvasRenderingContext2D.prototype.clearRect];
  let [requested, released, isAnswered] = [0, 0, false];
  window.zooms = [];
  addEventListener("mouseup", () => { released = performance.now(); }, true);
  window.fetch = async (...request) => {
    const isZoom = String(request[0]).includes("from_step=");
    if (isZoom) requested = performance.now();
    const answer = await fetchNow(...request);
    if (isZoom) isAnswered = true;
    return answer;
  };
  CanvasRenderingContext2D.prototype.clearRect = function (...area) {
    if (isAnswered) {
      isAnswered = false;
      requestAnimationFrame(() => setTimeout(() => {
        const drawn = performance.now();
        window.zooms.push([drawn - requested, drawn - released]);
      }));
    }
    return clear.apply(this, area);
  };
})();
"""


class Traffic:
    """Opens pages and counts the bytes that they receive, with headers and as compressed."""

    def __init__(self, page: Page, settings: Settings) -> None:
        self._page = page
        self._base = settings.api_url
        self._pending: set[str] = set()
        self._curves: set[str] = set()
        self._received: dict[str, int] = {}
        session = page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._began)
        session.on("Network.loadingFinished", self._ended)
        session.on("Network.loadingFailed", self._ended)
        session.send("Network.enable")

    def _began(self, event: dict[str, Any]) -> None:
        # A stream of events does not end.
        if event["type"] != "EventSource":
            self._pending.add(event["requestId"])
        if "/series?" in event["request"]["url"]:
            self._curves.add(event["requestId"])

    def _ended(self, event: dict[str, Any]) -> None:
        self._pending.discard(event["requestId"])
        self._received[event["requestId"]] = int(event.get("encodedDataLength", 0))

    def visit(self, address: str) -> tuple[float, float]:
        """Opens a page; gives the kilobytes that came until nothing more was requested, and those of curves apart."""
        self._curves.clear()
        self._received.clear()
        self._page.goto(self._base + address)
        self.wait()
        of_curves = sum(size for request, size in self._received.items() if request in self._curves)
        return (sum(self._received.values()) - of_curves) / 1000, of_curves / 1000

    def wait(self) -> None:
        """Waits until nothing has been pending for a moment."""
        quiet_ms = 0
        while quiet_ms < QUIET_MS:
            self._page.wait_for_timeout(POLL_MS)
            quiet_ms = 0 if self._pending else quiet_ms + POLL_MS


def rows(settings: Settings, data: Data, addresses: dict[str, str]) -> list[Row]:
    """Bytes, zoom and elements in Chromium; `addresses` has those of all pages by name."""
    program = find("chromium")
    if program is None:
        return [row("bytes, zoom and elements in a browser", "not measured: Chromium is not installed", "", True)]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        table = [
            *_bytes(_context(browser, settings, data), settings, data),
            *_zoom(_context(browser, settings, data), settings, data),
            _nodes(_context(browser, settings, data), settings, addresses),
        ]
        browser.close()
    return table


def _context(browser: Browser, settings: Settings, data: Data) -> BrowserContext:
    """A browser that is logged in and has nothing in its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(LIMIT_MS)
    context.add_cookies([{"name": COOKIE, "value": data.session, "url": settings.api_url}])
    return context


def _bytes(context: BrowserContext, settings: Settings, data: Data) -> list[Row]:
    traffic = Traffic(context.new_page(), settings)
    job = f"/ui/jobs/{data.long_job}"
    (first, _), (later, _) = traffic.visit("/ui/jobs"), traffic.visit("/ui/jobs?sort=-score")
    (first_job, _), (later_job, curves) = traffic.visit(job), traffic.visit(job)
    context.close()
    return [
        row("first visit, of the list of jobs", f"{first:.0f} kB", f"<= {FIRST_KB} kB", first <= FIRST_KB),
        row("the list of jobs at a later visit", f"{later:.0f} kB", f"<= {LATER_KB} kB", later <= LATER_KB),
        row("then a job, with the scripts of charts", f"{first_job:.0f} kB", "", True),
        row("the job at a later visit", f"{later_job:.0f} kB", f"<= {LATER_KB} kB", later_job <= LATER_KB),
        row("the points of its visible charts", f"{curves:.0f} kB", "", True),
    ]


def _zoom(context: BrowserContext, settings: Settings, data: Data) -> list[Row]:
    """Drags over the chart of all compared jobs, each time over another part of it."""
    context.add_init_script(_STOPWATCH)
    page = context.new_page()
    traffic = Traffic(page, settings)
    jobs = "&".join(f"job={job}~{slot}" for slot, job in enumerate(data.compared))
    traffic.visit(f"/ui/compare?{jobs}&key={COMPARED_KEYS[0]}")
    # A chart is drawn once it is in sight.
    page.locator("[data-panel=key-0]").scroll_into_view_if_needed()
    plot = page.locator("[data-panel=key-0] .u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    for number in range(ZOOMS):
        page.mouse.move(box["x"] + box["width"] * (0.1 + 0.02 * number), y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, y, steps=4)
        page.mouse.move(box["x"] + box["width"] * (0.6 + 0.02 * number), y, steps=4)
        page.mouse.up()
        while page.evaluate("window.zooms.length") <= number:
            page.wait_for_timeout(POLL_MS)
        page.mouse.dblclick(box["x"] + box["width"] / 2, y)
        traffic.wait()
    pairs = page.evaluate("window.zooms")
    context.close()
    from_request, from_release = (statistics.median(side) for side in zip(*pairs, strict=True))
    what = f"zoom of {len(data.compared)} series, from its request until it is drawn"
    return [
        row(what, f"{from_request:.0f} ms", f"<= {ZOOM_MS} ms", from_request <= ZOOM_MS),
        row("the same from the end of the drag", f"{from_release:.0f} ms", "", True),
    ]


def _nodes(context: BrowserContext, settings: Settings, addresses: dict[str, str]) -> Row:
    page = context.new_page()
    traffic = Traffic(page, settings)
    counts: dict[str, int] = {}
    for name, address in addresses.items():
        traffic.visit(address)
        counts[name] = page.evaluate("document.getElementsByTagName('*').length")
    context.close()
    name = max(counts, key=lambda name: counts[name])
    wanted = f"<= {MAX_NODES:,}"
    return row(f"most elements of a page, {name}", f"{counts[name]:,}", wanted, counts[name] <= MAX_NODES)
