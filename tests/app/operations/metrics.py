"""Reading a scrape of the metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.app.api import Service

# A sample by its name and the values of its labels, in the order of the labels' names.
Samples = dict[tuple[str, ...], float]


def parse(text: str) -> Samples:
    """The samples of a scrape."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(service: Service, user: str = "eve") -> Samples:
    """What `GET /metrics` answers."""
    answer = service.get("/metrics", user)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse(answer.text)
