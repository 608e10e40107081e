"""The list of jobs: rows, counts, filters, actions on several jobs, and text of every kind."""

from __future__ import annotations

import re
from html import unescape

import pytest
from markupsafe import escape

from app.models import State
from app.web.views.job_columns import columns_of, headers
from app.web.views.row import spark_points
from tests.app.api import EXPERT, Service
from tests.app.sweeps.sweeping import create, jobs
from tests.web.test_security import log_in

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "x" * 200,
    "\u0645\u0631\u062d\u0628\u0627 abc",
)


def listed(service: Service, query: str = "", owner: str = "alice") -> str:
    answer = service.http.get(f"/ui/jobs{query}", headers=log_in(service, owner))
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_an_empty_list_says_what_to_do(service: Service) -> None:
    text = listed(service)
    assert "No jobs yet" in text
    assert "mcn demo" in text
    assert text.count("button primary") == 1
    assert "No job matches these filters" in listed(service, "?q=nothing")


def test_filters_and_counts_come_from_one_predicate(service: Service) -> None:
    first = service.submit(EXPERT | {"name": "alpha"})
    service.submit(EXPERT | {"name": "beta"})
    service.transition(first, State.cancelled)
    text = listed(service, "?q=alpha&kind=&owner=&tag=")
    assert "alpha" in text
    assert "beta" not in text
    assert 'cancelled <span class="n">1' in text
    assert 'queued <span class="n">0' in text
    assert first in listed(service, "?state=cancelled")
    assert "beta" not in listed(service, "?state=cancelled")


def test_the_runs_of_sweeps_can_be_hidden_and_other_filters_stay(service: Service) -> None:
    single = service.submit(EXPERT | {"name": "single"})
    sweep = create(service)["id"]
    run = jobs(service, sweep)[0]
    text = listed(service, "?kind=&sort=name&state=queued")
    assert f'href="/ui/sweeps/{sweep}">of a sweep</a>' in text
    [hide] = re.findall(r'href="([^"]+)">hidden</a>', text)
    text = listed(service, unescape(hide).removeprefix("/ui/jobs"))
    assert f"row-{single}" in text
    assert f"row-{run}" not in text
    # The counts, the next filter and the updates leave them out too.
    assert 'queued <span class="n">1' in text
    assert '<input type="hidden" name="sweep" value="none">' in text
    [source] = re.findall(r'data-live-src="([^"]+)"', text)
    assert unescape(source) == "/ui/-/jobs?sweep=none&state=queued&sort=name"
    [show] = re.findall(r'href="([^"]+)">shown</a>', text)
    assert unescape(show) == "/ui/jobs?state=queued&sort=name"
    assert "runs of sweeps hidden" in listed(service, "?sweep=none&q=nothing")
    assert f'href="/ui/sweeps/{sweep}">To the results' in listed(service, f"?sweep={sweep}")


def test_headings_sort_the_list_and_say_how_it_is_sorted(service: Service) -> None:
    service.submit(EXPERT | {"name": "one"})
    text = listed(service, "?q=one")
    assert re.search(r'aria-sort="descending"><a href="/ui/jobs\?q=one&amp;sort=created_at">Created</a>', text)
    assert '<a href="/ui/jobs?q=one&amp;sort=-score">Best validation accuracy</a>' in text
    text = listed(service, "?q=one&sort=name")
    assert '<th scope="col" aria-sort="ascending"><a href="/ui/jobs?q=one&amp;sort=-name">Name</a>' in text
    assert '<a href="/ui/jobs?q=one">Created</a>' in text
    assert text.count("aria-sort") == 1
    assert "without a validation accuracy" in listed(service, "?sort=-score")


def test_the_column_that_decides_the_order_is_shown() -> None:
    assert columns_of(["owner"], "-created_at") == ["owner"]
    assert columns_of(["owner"], "-priority") == ["priority", "owner"]
    assert columns_of([], "-score") == columns_of([], "-created_at")
    best = headers(["best"], "-score")[1]
    # Nothing offers the worst first.
    assert (best.order, best.sorted, best.is_number) == (None, "descending", True)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_text(service: Service, name: str) -> None:
    job_id = service.submit(EXPERT | {"name": name})
    service.transition(job_id, State.cancelled, message=f"\x1b[31mred\x1b[0m {name}")
    text = listed(service)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "\x1b" not in text
    assert str(escape(name))[:100] in text


def test_an_action_says_for_each_job_how_it_went(service: Service) -> None:
    mine, other = service.submit(EXPERT, "alice"), service.submit(EXPERT, "bob")
    headers = log_in(service)
    answer = service.http.post(
        "/ui/jobs/bulk", data={"do": "cancel", "job": [mine, other, "job_none"]}, headers=headers
    )
    assert answer.status_code == 200
    assert "is cancelled" in answer.text
    assert "only bob and admins may change it" in answer.text
    assert "there is no job" in answer.text
    assert service.get(f"/jobs/{mine}").json()["state"] == "cancelled"
    assert service.get(f"/jobs/{other}").json()["state"] == "queued"


def test_deleting_asks_first(service: Service) -> None:
    job_id = service.submit(EXPERT, "alice")
    service.transition(job_id, State.cancelled)
    headers = log_in(service)
    asked = service.http.post("/ui/jobs/bulk", data={"do": "delete", "job": job_id}, headers=headers)
    assert "cannot be undone" in asked.text
    assert service.get(f"/jobs/{job_id}").status_code == 200
    data = {"do": "delete", "job": job_id, "confirmed": "true"}
    assert "deleted" in service.http.post("/ui/jobs/bulk", data=data, headers=headers).text
    assert service.get(f"/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize("data", [{"do": "explode", "job": "job_1"}, {"do": "cancel"}, {}])
def test_a_mistaken_action_is_an_error_page(service: Service, data: dict[str, str]) -> None:
    answer = service.http.post("/ui/jobs/bulk", data=data, headers=log_in(service))
    assert 400 <= answer.status_code < 500
    assert "<!doctype html>" in answer.text


@pytest.mark.parametrize("query", ["?state=happy", "?cursor=zzz", "?sort=age", "?x=1", "?q=" + "a" * 300, "?kind=x"])
def test_a_mistaken_address_is_an_error_page(service: Service, query: str) -> None:
    answer = service.http.get(f"/ui/jobs{query}", headers=log_in(service))
    assert answer.status_code == 422
    assert "<!doctype html>" in answer.text


def test_pages_lead_on_with_the_same_filters(service: Service) -> None:
    for _ in range(51):
        service.submit(EXPERT | {"name": "many"})
    text = listed(service, "?q=many&sort=created_at")
    assert text.count("data-row") == 50
    start = text.index('rel="next"')
    link = text[:start].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "q=many" in link
    assert "sort=created_at" in link
    assert listed(service, "?" + link.partition("?")[2]).count("data-row") == 1


def test_a_sparkline_spans_its_values_and_leaves_gaps_out() -> None:
    assert spark_points([0.1]) == ""
    points = [tuple(map(float, point.split(","))) for point in spark_points([0.0, None, 1.0, 0.5]).split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert (points[0][1], points[1][1]) == (18.0, 2.0)
