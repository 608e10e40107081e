"""The pages with charts, without a browser."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from app.db import transaction
from app.models import Component, State
from app.results.metrics.store import append
from app.web.pages.compare import MAX_CHOICES
from tests.app.api import EXPERT, Service
from tests.app.results.metrics.points import block
from tests.app.sweeps.sweeping import statements
from tests.web.test_security import log_in

HOSTILE = '<script>alert("1")</script>'


def submit(service: Service, name: str, **values: list[float]) -> str:
    """A job with metrics of one value every ten steps; `__` in a key stands for a slash."""
    job = service.submit({**EXPERT, "name": name})
    blocks = {
        key.replace("__", "/"): block(list(range(10, 10 * len(some) + 10, 10)), some) for key, some in values.items()
    }
    with transaction(service.app.state.engine) as session:
        append(session, job, blocks)
    return job


def read(service: Service, path: str, status: int = 200) -> str:
    answer: Any = service.http.get(path, headers=log_in(service), follow_redirects=True)
    assert answer.status_code == status, answer.text
    return str(answer.text)


def test_the_charts_of_a_job_are_drawn_by_the_server(service: Service) -> None:
    job = submit(service, HOSTILE, val__accuracy_expert_0=[0.1, 0.5, 0.4], train__loss_total=[3.0, 2.0, 1.0])
    text = read(service, f"/ui/-/curves?job={job}")
    assert text.count('<svg class="chart-svg"') == 2
    assert "Validation accuracy" in text
    assert "0.5" in text
    assert "<script" not in text
    assert read(service, f"/ui/jobs/{job}/curves?x=epoch&smooth=50&from=1&to=2&y=log&focus=1&logx=1&charts=loss")


def test_of_epochs_with_equal_accuracy_the_saved_one_is_marked(service: Service) -> None:
    job = submit(service, "one", val__accuracy_expert_0=[0.1, 0.5, 0.5])
    service.transition(job, State.starting, State.running, progress={"step": 30, "steps": 30, "epochs": 3})
    assert "highest accuracy: epoch 2" in read(service, f"/ui/-/curves?job={job}")
    row: dict[str, Any] = {"role": "expert", "metrics": {}, "selected_by": "accuracy_expert_0", "files": {}}
    with transaction(service.app.state.engine) as session:
        session.add(Component(id="cmp_1", job_id=job, name="expert_0", epoch=3, config={}, **row))
    assert "best accuracy: epoch 3" in read(service, f"/ui/-/curves?job={job}")


def test_minor_charts_are_drawn_where_they_are_not_folded(service: Service) -> None:
    job = submit(service, "one", val__accuracy_expert_0=[0.1, 0.5], lr__experts=[0.1, 0.2])
    for address, drawn in ((f"/ui/-/curves?job={job}", 1), (f"/ui/jobs/{job}", 1), (f"/ui/jobs/{job}/curves", 2)):
        text = read(service, address)
        assert text.count('<svg class="chart-svg"') == drawn
        assert "Learning rates" in text


def test_metrics_with_hostile_names_are_text(service: Service) -> None:
    key = "custom/<img src=x onerror=alert(1)>'\" \x1b[31m"
    job = submit(service, "one", **{key: [1.0, 2.0]})
    text = read(service, f"/ui/-/curves?job={job}")
    assert "<img" not in text
    assert "&lt;img" in text
    assert "\x1b[31m" not in html.unescape(text)


def test_before_the_first_values_the_page_says_when_they_come(service: Service) -> None:
    job = service.submit()
    assert "First values appear" in read(service, f"/ui/-/curves?job={job}")
    service.transition(job, State.starting, State.running, progress={"step": 0, "steps": 400, "epochs": 4})
    assert "First values after step 25" in read(service, f"/ui/-/curves?job={job}")
    service.transition(job, State.failed)
    assert "ended before it logged" in read(service, f"/ui/-/curves?job={job}")


def test_unknown_jobs_and_parameters_give_an_error_page(service: Service) -> None:
    read(service, "/ui/-/curves?job=job_none", 404)
    job = service.submit()
    read(service, f"/ui/jobs/{job}/curves?zoom=1", 422)
    read(service, f"/ui/jobs/{job}/curves?x=miles", 422)
    read(service, "/ui/compare?job=job_none~0", 404)


def test_a_comparison_of_many_jobs_takes_as_many_queries_as_one_of_two(service: Service) -> None:
    jobs = [submit(service, f"job {number}", train__loss_total=[2.0, 1.0]) for number in range(6)]
    numbers = []
    for compared in (jobs[:2], jobs):
        with statements(service) as executed:
            read(service, "/ui/compare?" + "&".join(f"job={job}~{slot}" for slot, job in enumerate(compared)))
        numbers.append(len(executed))
    assert numbers[0] == numbers[1]


def test_a_comparison_shows_curves_differences_and_results(service: Service) -> None:
    one = submit(service, HOSTILE, val__accuracy_expert_0=[0.1, 0.5], test__accuracy_expert_0=[0.5], test__nll=[1.5])
    two = submit(service, "two", val__accuracy_expert_0=[0.2, 0.75], test__accuracy_expert_0=[0.75], test__nll=[1.0])
    answer = service.http.get(
        f"/ui/compare?job={one}&job={two}~9&y=log", headers=log_in(service), follow_redirects=False
    )
    # The address gets slots, so that colours stay when jobs are removed.
    assert answer.headers["location"] == f"/ui/compare?job={one}~0&job={two}~9&y=log"
    text = read(service, answer.headers["location"])
    assert "series-1 dashed" in text
    assert "<code>name</code>" in text
    assert "<code>expert.arch</code>" not in text
    assert "\u22120.5" in text
    assert "<script>alert" not in text
    assert "<code>expert.arch</code>" in read(service, f"/ui/compare?job={one}~0&job={two}~9&fields=all")
    assert "No metric is selected" in read(service, f"/ui/compare?job={one}~0&job={two}~9&key=unknown")


def test_jobs_are_added_by_id(service: Service) -> None:
    one, two = service.submit(), service.submit()
    assert "choose Compare" in read(service, "/ui/compare")
    answer = service.http.get(f"/ui/compare?job={one}~3&add={two}", headers=log_in(service), follow_redirects=False)
    assert answer.headers["location"] == f"/ui/compare?job={one}~3&job={two}~0"
    text = read(service, f"/ui/compare?job={one}~3&add=%3Cb%3E", 422)
    assert "There is no other job" in text
    assert "<b>" not in text
    read(service, f"/ui/compare?job={one}~3&add=%00", 422)


def test_a_job_is_added_by_its_name_and_chosen_if_several_have_it(service: Service) -> None:
    base, alpha, beta = (submit(service, name) for name in ("base line", "alpha run", f"beta run {HOSTILE}"))
    view = "&y=log&key=train%2Floss_total"
    answer = service.http.get(
        f"/ui/compare?job={base}~0&add=alpha+run{view}", headers=log_in(service), follow_redirects=False
    )
    assert answer.headers["location"] == f"/ui/compare?job={base}~0&job={alpha}~1{view}"
    text = read(service, f"/ui/compare?job={base}~0&add=run{view}")
    assert "Which of these?" in text
    links = [html.unescape(link) for link in re.findall(r'<a class="compared-name" href="(/ui/compare[^"]+)"', text)]
    assert links == [f"/ui/compare?job={base}~0&job={one}~1{view}" for one in (beta, alpha)]
    assert "<script>alert" not in text
    # One that is compared already is no choice; of the others only one is left.
    answer = service.http.get(
        f"/ui/compare?job={base}~0&job={beta}~1&add=run", headers=log_in(service), follow_redirects=False
    )
    assert answer.headers["location"] == f"/ui/compare?job={base}~0&job={beta}~1&job={alpha}~2"
    assert "There is no other job" in read(service, f"/ui/compare?job={base}~0&add=base+line", 422)
    for number in range(11):
        submit(service, f"many {number}")
    text = read(service, f"/ui/compare?job={base}~0&add=many")
    assert len(re.findall(r'<a class="compared-name" href="/ui/compare', text)) == MAX_CHOICES
    assert "these are the newest" in text


def test_another_job_becomes_the_baseline_and_keeps_its_colour(service: Service) -> None:
    one = submit(service, "one", test__accuracy_expert_0=[0.5], test__nll=[1.5])
    two = submit(service, "two", test__accuracy_expert_0=[0.75], test__nll=[1.0])
    text = read(service, f"/ui/compare?job={one}~0&job={two}~5&fields=all")
    [link] = re.findall(r'href="([^"]+)" aria-label="Make two the baseline"', text)
    assert html.unescape(link) == f"/ui/compare?job={two}~5&job={one}~0&fields=all"
    text = read(service, html.unescape(link))
    assert "Make one the baseline" in text
    assert ">+0.5000</span>" in text
    # Results first, then what explains them.
    titles = ["Results on test images", "Curves", "Specification</h2>"]
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)


@pytest.mark.parametrize(("count", "status"), [(21, 422), (41, 422)])
def test_too_many_jobs_are_refused(service: Service, count: int, status: int) -> None:
    jobs = "&".join(f"job=job_{number}" for number in range(count))
    read(service, f"/ui/compare?{jobs}", status)
