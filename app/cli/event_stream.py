"""Server-sent events, parsed as the HTML standard defines them (section 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def parse_events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events in the lines of a stream, each `{"id": int, "type": str, "data": ..}`, data parsed as JSON.

    Comments are skipped, and so are events without id or data and one that a broken connection has cut off.
    """
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields['data']}\n{value}" if name == "data" and "data" in fields else value
            continue
        if "id" in fields and "data" in fields:
            yield {
                "id": int(fields["id"]),
                "type": fields.get("event", "message"),
                "data": json.loads(fields["data"]),
            }
        fields = {}
