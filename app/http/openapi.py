"""The OpenAPI description: what FastAPI does not derive from the signatures of routes, or describes too loosely."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter


class DescribedAPI(FastAPI):
    """FastAPI with a description that permits no more than validation does."""

    _openapi_json: bytes | None = None

    def openapi(self) -> dict[str, Any]:
        """The description, computed once."""
        if self.openapi_schema is None:
            self.openapi_schema = _tighten(super().openapi())
        return self.openapi_schema

    def openapi_json(self) -> bytes:
        """The description as JSON, encoded once: that takes many milliseconds, in which nobody else is answered."""
        if self._openapi_json is None:
            self._openapi_json = bytes(JSONResponse(self.openapi()).body)
        return self._openapi_json


# They answer without a token.
_OPEN_PATHS = ("/healthz", "/readyz")


def _tighten(description: dict[str, Any]) -> dict[str, Any]:
    scheme = {"type": "http", "scheme": "bearer", "description": "a token, which begins with `mcn_`"}
    description.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    for path, operations in description["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path in _OPEN_PATHS else [{"token": []}]
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
    closed: dict[str, Any] = _close_patterns(description)
    return closed


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional parameter: it may be absent, but no text in a URL or a header is null."""
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**options[0], **rest} if len(options) == 1 else {**rest, "anyOf": options}


def _close_patterns(schema: Any) -> Any:
    """Refuses property names that match no pattern: Pydantic describes those that it accepts, but not that."""
    if isinstance(schema, dict):
        closed = {key: _close_patterns(value) for key, value in schema.items()}
        return {"additionalProperties": False, **closed} if "patternProperties" in closed else closed
    return [_close_patterns(item) for item in schema] if isinstance(schema, list) else schema


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its references replaced by what they refer to, so that it can be part of an operation."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {
            key: _inlined(value, definitions) for key, value in schema.items() if key not in ("$defs", "discriminator")
        }
    return [_inlined(item, definitions) for item in schema] if isinstance(schema, list) else schema


def request_body(model: Any, examples: dict[str, Any]) -> dict[str, Any]:
    """The `requestBody` of a route that reads and validates its body itself.

    `model` is its Pydantic type, `examples` named OpenAPI examples.
    """
    schema = TypeAdapter(model).json_schema()
    content = {"schema": _inlined(schema, schema.get("$defs", {})), "examples": examples}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def problem_response(description: str) -> dict[str, Any]:
    """A response in `application/problem+json`."""
    return {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM_SCHEMA}}}


_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "additionalProperties": False,
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}

# One server-sent event, in the form in which FastAPI describes its own event streams.
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
