"""What the OpenAPI description says beyond the routes' own types."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema without references, so that it can stand inside an operation."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {
            key: _inlined(value, definitions) for key, value in schema.items() if key not in ("$defs", "discriminator")
        }
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema


def request_body(model: Any, examples: dict[str, Any]) -> dict[str, Any]:
    """A request's body, of what a route reads by itself."""
    schema = TypeAdapter(model).json_schema()
    content = {"schema": _inlined(schema, schema.get("$defs", {})), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


# Of each event, as the framework describes streams of its own.
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "itemSchema": {
            "type": "object",
            "required": ["id", "event", "data"],
            "properties": {
                "id": {"type": "string"},
                "event": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json"},
            },
        }
    }
}
