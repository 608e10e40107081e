"""The pictures of the README: a list of jobs and the page of one. `make pictures` takes them from the demo's jobs."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from app.cli.demo import submit_jobs
from tests.e2e.running import ROOT, Running, fusion
from tests.web.browser.test_charts import plot
from tests.web.fixtures import Visit

FOLDER = ROOT / "docs" / "images"
NAMES = ("jobs.png", "job.png")
MAX_BYTES = 200_000
TAKES_THEM = os.environ.get("MCN_TAKE_PICTURES") == "1"


def take(page: Page, file: Path) -> None:
    """A page has few colours: those that differ most make the file a third as large."""
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(file, optimize=True)


def test_the_pictures_can_be_taken(visit: Visit, dashboard: Running, tmp_path: Path) -> None:
    ids = submit_jobs(dashboard.api) if TAKES_THEM else [dashboard.submit(fusion(epochs=2))]
    for job_id in ids:
        dashboard.wait(job_id, "succeeded")
    folder = FOLDER if TAKES_THEM else tmp_path
    visit.page.set_viewport_size({"width": 1280, "height": 800})
    page = visit.open("/ui/jobs?tag=demo" if TAKES_THEM else "/ui/jobs")
    page.locator(f"#row-{ids[-1]}").wait_for()
    take(page, folder / "jobs.png")
    # As high as the evaluation and the charts of accuracy and losses.
    visit.page.set_viewport_size({"width": 1280, "height": 1690})
    page = visit.open(f"/ui/jobs/{ids[-1]}")
    plot(page, "accuracy").wait_for()
    take(page, folder / "job.png")
    assert all((folder / name).stat().st_size < MAX_BYTES for name in NAMES)


def test_the_readme_shows_pictures_that_are_there_and_small() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in NAMES:
        assert f"](docs/images/{name})" in readme
        assert (FOLDER / name).read_bytes().startswith(b"\x89PNG")
        assert (FOLDER / name).stat().st_size < MAX_BYTES
