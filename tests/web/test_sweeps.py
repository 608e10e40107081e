"""The pages of sweeps: list, heat map, leaderboard, actions."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from app.db import transaction
from app.models import Event, State
from tests.app.api import Service
from tests.app.results.predictions.trained import set_data
from tests.app.sweeps.sweeping import SUCCEEDED, create, jobs, measure, sweep
from tests.app.sweeps.test_differences import two_rows_over_seeds
from tests.web.test_security import log_in

KEY = "val/accuracy_fused"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"
GRID: dict[str, list[Any]] = {
    "fusion.type": ["multiplicative", "concatenation"],
    "training.loss.lambda_individual": [0.5, 1],
    "training.epochs": [2, 3],
    "training.seed": [1, 2],
}


def read(service: Service, path: str, status: int = 200, user: str = "alice") -> str:
    answer = service.http.get(path, headers=log_in(service, user), follow_redirects=False)
    assert answer.status_code == status, answer.text
    return str(answer.text)


def send(service: Service, path: str, user: str, status: int = 303) -> str:
    answer = service.http.post(path, headers=log_in(service, user), follow_redirects=False)
    assert answer.status_code == status, answer.text
    return str(answer.headers.get("location", answer.text))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def test_without_sweeps_the_list_says_how_to_submit_one(service: Service) -> None:
    html = read(service, "/ui/sweeps")
    assert "No sweeps yet" in html
    assert "mcn sweep examples/digits/sweep_lambda.yaml" in html
    assert html.count("button primary") == 1
    assert "/ui/sweeps/new" not in read(service, "/ui/sweeps", user="eve")


def test_the_list_shows_counts_and_the_best_value_and_has_pages(service: Service) -> None:
    first = create(service, sweep(name="first"))["id"]
    ids = jobs(service, first)
    service.transition(ids[0], *SUCCEEDED, score=0.8125)
    service.transition(ids[1], State.starting, State.failed)
    html = read(service, "/ui/sweeps")
    assert 'aria-label="1 succeeded, 1 failed, 4 queued"' in html
    assert "0.8125" in html
    for number in range(50):
        create(service, sweep({"training.seed": [number]}, name=f"number {number}"))
    html = read(service, "/ui/sweeps")
    assert "number 49" in html
    assert "first" not in re.findall(r"<bdi>([^<]*)</bdi></a>", html)
    [following] = re.findall(r'href="(/ui/sweeps\?cursor=[^"]+)"', html)
    second = read(service, following)
    assert ">first<" in second
    assert following.replace("/ui/", "/ui/-/") in second


def test_a_sweep_has_a_heat_map_of_means_over_seeds(service: Service) -> None:
    sweep_id = create(service)["id"]
    ids = jobs(service, sweep_id)
    for job_id, value in zip(ids, (0.5, 0.7, 0.6, 0.9, 0.8), strict=False):
        measure(service, job_id, KEY, 0.1, value)
    service.transition(ids[5], State.starting, State.failed)
    service.transition(ids[0], State.starting, State.running)
    html = read(service, f"/ui/sweeps/{sweep_id}")
    # Two fields and seeds: the fusion type spans the columns.
    cells = [text_of(cell).strip() for cell in re.findall(r'<td class="heat[^>]*>(.*?)</td>', html, re.DOTALL)]
    assert cells == ["0.6000 ± 0.1000 · n = 3 1 2", "0.8500 ± 0.0707 · n = 2 of 3 2 1"]
    assert re.search(r'heat-8 heat-best">\s*<a href="/ui/compare\?job=[^"]+~0&amp;job=[^"]+~1', html)
    assert f'href="/ui/jobs?sweep={sweep_id}&amp;state=failed"' in html
    assert f"/sweeps/{sweep_id}/leaderboard.csv?metric=val%2Faccuracy_fused" in html
    # Lower is better for a loss.
    measure(service, ids[0], "val/loss_global", 2.0)
    measure(service, ids[3], "val/loss_global", 1.0)
    html = read(service, f"/ui/sweeps/{sweep_id}?metric=val/loss_global")
    assert "Lower is better" in html
    [best] = re.findall(r'heat-best">(.*?)</td>', html, re.DOTALL)
    assert "1 n = 1 of 3" in text_of(best)


def test_no_row_is_the_best_by_a_metric_of_which_neither_end_is_better(service: Service) -> None:
    sweep_id = create(service)["id"]
    for job_id, value in zip(jobs(service, sweep_id), (0.5, 0.7, 0.6, 0.9, 0.8), strict=False):
        measure(service, job_id, "val/disagreement", 0.1, value)
    html = read(service, f"/ui/sweeps/{sweep_id}?metric=val/disagreement")
    text = text_of(html)
    assert "of each run its last value" in text
    assert "Neither higher nor lower values are better." in text
    assert "Lower is better" not in text
    assert "Best so far" not in text
    results = html[html.index('id="sweep-results"') : html.index('id="points-title"')]
    assert "#star" not in results
    assert "best" not in text_of(results).lower()


def test_the_best_mean_and_the_best_run_are_told_apart_and_lead_on(service: Service) -> None:
    sweep_id = create(service)["id"]
    ids = jobs(service, sweep_id)
    html = read(service, f"/ui/sweeps/{sweep_id}")
    assert "/ui/new?from=" not in html
    for job_id, value in zip(ids, (0.5, 0.95, 0.5, 0.9, 0.8), strict=False):
        measure(service, job_id, KEY, value)
    html = read(service, f"/ui/sweeps/{sweep_id}")
    text = text_of(html)
    assert "Best so far by val/accuracy_fused" in text
    assert "Best mean 0.8500 ± 0.0707 of 2 seeds with type = " in text
    assert re.search(r"Best run 0\.9500 with type = \w+ , seed = \d", text)
    # A new job starts from the best run of the best combination; it is the next step once all have ended.
    assert f'<a class="button" href="/ui/new?from={ids[3]}">' in html
    assert re.search(r"2 \w+ 0\.6500 0\.2598 0\.0046 to 1\.0000 3 0\.9500 ", text)
    for job_id in ids:
        service.transition(job_id, *SUCCEEDED)
    html = read(service, f"/ui/sweeps/{sweep_id}")
    assert f'<a class="button primary" href="/ui/new?from={ids[3]}">' in html
    assert "Best so far" not in html
    assert "/ui/new?from=" not in read(service, f"/ui/sweeps/{sweep_id}", user="eve")


def test_rows_have_their_difference_to_the_first_one(service: Service) -> None:
    sweep_id, ids = two_rows_over_seeds(service, [0.90, 0.93, 0.95], [0.88, 0.92, 0.91])
    text = text_of(read(service, f"/ui/sweeps/{sweep_id}"))
    assert "Minus best, points, 95 % interval, p" in text
    assert "0.9267 best" in text
    assert "0.9033 \u22122.3 \u22126.1 to +1.5, p = 0.12" in text
    assert "paired t test over the seeds" in text
    for job_id in ids[3:]:
        set_data(service, job_id, "b" * 64)
    for job_id in ids[:3]:
        set_data(service, job_id, "a" * 64)
    assert "Minus best" not in read(service, f"/ui/sweeps/{sweep_id}")


def test_a_sweep_without_seeds_speaks_of_no_means(service: Service) -> None:
    sweep_id = create(service, sweep({"fusion.type": ["multiplicative", "concatenation"]}))["id"]
    measure(service, jobs(service, sweep_id)[0], "val/loss_global", 1234.5)
    measure(service, jobs(service, sweep_id)[1], "val/loss_global", 99.75)
    text = text_of(read(service, f"/ui/sweeps/{sweep_id}?metric=val/loss_global"))
    # All values of a metric have as many decimals.
    assert "Best run 99.8 with type = concatenation" in text
    assert "1 concatenation 99.8" in text
    assert "mean" not in text.lower()
    assert "n = 1" not in text


def test_the_address_chooses_rows_columns_and_the_slice(service: Service) -> None:
    sweep_id = create(service, sweep(GRID))["id"]
    ids = jobs(service, sweep_id)
    # The best point has concatenation, 0.5, 3 epochs.
    measure(service, ids[10], KEY, 0.9)
    measure(service, ids[0], KEY, 0.4)
    html = read(service, f"/ui/sweeps/{sweep_id}")
    [source] = re.findall(r'data-live-src="(/ui/-/sweeps/[^"]+results[^"]+)"', html)
    assert unescape(source).endswith(
        "?rows=fusion.type&cols=training.loss.lambda_individual&metric=val%2Faccuracy_fused&at.training.epochs=3"
    )
    assert '<svg class="parallel"' in html
    # The fragment stays with its slice.
    fragment = read(service, unescape(source))
    assert fragment.strip().startswith('<div id="sweep-results"')
    assert unescape(source) in unescape(fragment)
    other = read(service, f"/ui/sweeps/{sweep_id}?rows=training.epochs&cols=training.seed&at.fusion.type=concatenation")
    assert "at type = concatenation, lambda_individual = 0.5" in text_of(other).replace(" ,", ",")
    cells = [text_of(cell).strip() for cell in re.findall(r'<td class="heat[^>]*>(.*?)</td>', other, re.DOTALL)]
    assert [cell for cell in cells if "0.9000" in cell] == ["best 0.9000 n = 1 1"] or "0.9000" in " ".join(cells)
    same = read(service, f"/ui/sweeps/{sweep_id}?rows=fusion.type&cols=fusion.type")
    assert "rows=training.loss.lambda_individual&amp;cols=fusion.type" in same


@pytest.mark.parametrize(
    "query", ["rows=no.such", "cols=no.such", "at.fusion.type=none", "at.no.such=1", "unknown=1", "cursor=abc"]
)
def test_an_address_that_does_not_fit_is_an_error_page(service: Service, query: str) -> None:
    sweep_id = create(service)["id"]
    html = read(service, f"/ui/sweeps/{sweep_id}?{query}", status=422)
    assert "<h1>" in html


def test_hostile_text_stands_as_text(service: Service) -> None:
    body = sweep({"tags": [["a"], ["b"]], "training.seed": [1]}, name=HOSTILE)
    sweep_id = create(service, body)["id"]
    for path in ("/ui/sweeps", f"/ui/sweeps/{sweep_id}"):
        html = read(service, path)
        assert HOSTILE not in html
        assert "&lt;script&gt;" in html
    service.get("/sweeps")
    assert read(service, "/ui/sweeps/swp_%3Cscript%3E", status=404).count("<script>") == 0


def test_its_owner_cancels_and_retries_a_sweep(service: Service) -> None:
    sweep_id = create(service, user="alice")["id"]
    ids = jobs(service, sweep_id)
    service.transition(ids[0], State.starting, State.failed)
    page = f"/ui/sweeps/{sweep_id}"
    html = read(service, page)
    assert "Retry 1 job<" in html
    assert 'data-confirm="Cancel 5 jobs that have not ended?"' in html
    for user in ("bob", "eve"):
        assert f"{page}/cancel" not in read(service, page, user=user)
        send(service, f"{page}/cancel", user, status=403)
    assert send(service, f"{page}/cancel", "alice") == page
    assert f"/ui/jobs?sweep={sweep_id}&amp;state=cancelled" in read(service, page)
    assert send(service, f"{page}/retry", "alice") == page
    assert "6 queued" in read(service, f"/ui/-/sweeps/{sweep_id}/counts")


def test_decisions_of_early_stopping_are_listed(service: Service) -> None:
    body = sweep(early_stopping={"metric": KEY, "min_epochs": 2, "reduction_factor": 3})
    sweep_id = create(service, body)["id"]
    html = read(service, f"/ui/sweeps/{sweep_id}")
    assert "After 2, 6, 18, … epochs" in text_of(html)
    assert "No decision yet" in html
    data = {"rung": 2, "metric": KEY, "value": 0.25, "kept": False, "best": 1, "of": 3}
    with transaction(service.app.state.engine) as session:
        session.add(Event(job_id=jobs(service, sweep_id)[0], type="rung", data=data))
    text = text_of(read(service, f"/ui/sweeps/{sweep_id}"))
    assert re.search(r"stopped base type=multiplicative seed=1 2 0\.2500 best 1 of 3", text)


def test_points_have_pages(service: Service) -> None:
    sweep_id = create(service, sweep({"training.seed": list(range(60))}))["id"]
    html = read(service, f"/ui/sweeps/{sweep_id}")
    [following] = re.findall(r'<a class="button" href="([^"]+)" rel="next"', html)
    assert html.count("<tr data-row>") == 50
    assert read(service, unescape(following)).count("<tr data-row>") == 10
