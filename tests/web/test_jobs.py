"""The list of jobs: rows, counts, filters, actions on several jobs, and text of every kind."""

from __future__ import annotations

import pytest
from markupsafe import escape

from app.models import State
from app.web.views.row import spark_points
from tests.app.api import EXPERT, Service
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
