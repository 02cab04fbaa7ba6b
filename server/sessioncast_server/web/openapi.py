"""The interface as OpenAPI 3.1, made of the table that the dispatch obeys.

A library such as spectree would bring its own decorators and its own validation, which know neither our strict
JSON nor our problem bodies; what it would save is this page.
"""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode
from starlette.responses import Response

from sessioncast_server.jsontext import json_bytes
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import UNSAFE, Call, Endpoint
from sessioncast_shared.codes import Code

_REF = "#/components/schemas/{model}"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457, with further members by code",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": list(Code)},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "retryable": {"type": "boolean"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                "required": ["field", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "detail", "request_id", "retryable"],
}
_MEANINGS = {
    200: "Done",
    201: "Created",
    204: "Done, nothing to show",
    207: "An outcome per item",
    304: "Not changed",
    503: "Not ready",
}
# The page loads nothing from elsewhere, and nothing that a description holds can run.
_DOCS_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


def document(endpoints: Iterable[Endpoint], *, title: str, version: str) -> dict[str, Any]:
    """The OpenAPI document of these endpoints."""
    table = list(endpoints)
    schemas = _Schemas(table)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.template, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas.definitions, "Problem": _PROBLEM},
            "responses": {
                "Problem": {
                    "description": "What is wrong",
                    "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
                }
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def pages(described: Mapping[str, Any]) -> list[Endpoint]:
    """`/openapi.json` with this document, and `/docs`, a page that shows it."""
    body = json_bytes(described)
    page = resources.files(__package__).joinpath("docs.html").read_bytes()

    async def openapi(call: Call) -> Response:
        return Answer(200, body).response(call.request_id)

    async def docs(call: Call) -> Response:
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _DOCS_POLICY}
        return Answer(200, page, headers).response(call.request_id)

    return [
        Endpoint("GET", "/openapi.json", openapi, "This document", answers={200: dict[str, Any]}, public=True),
        Endpoint("GET", "/docs", docs, "This document as a page", answers={200: str}, public=True),
    ]


class _Schemas:
    """JSON schemas of all models of the table: those of requests as they are read, those of answers as written."""

    def __init__(self, table: Iterable[Endpoint]) -> None:
        wanted: dict[tuple[str, JsonSchemaMode], TypeAdapter[Any]] = {}
        for endpoint in table:
            for model in filter(None, (endpoint.body, endpoint.query)):
                wanted[_key(model), "validation"] = TypeAdapter(model)
            for model in endpoint.answers.values():
                if model is not None:
                    wanted[_key(model), "serialization"] = TypeAdapter(model)
        inputs = [(key, mode, adapter) for (key, mode), adapter in wanted.items()]
        self._by_key, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
        self.definitions: dict[str, Any] = rest.get("$defs", {})

    def of(self, model: Any, mode: JsonSchemaMode) -> Any:
        return self._by_key[_key(model), mode]

    def resolved(self, model: Any) -> dict[str, Any]:
        schema: Any = self.of(model, "validation")
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].rpartition("/")[2]]
        return dict(schema)


def _key(model: Any) -> str:
    return f"{getattr(model, '__module__', '')}.{getattr(model, '__qualname__', '')}.{model!r}"


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": _parameters(endpoint, schemas),
        "responses": {
            **{str(status): _answer(status, model, schemas) for status, model in sorted(endpoint.answers.items())},
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "security": [] if endpoint.public else [{"bearer": []}],
    }
    if endpoint.scope is not None:
        operation["description"] = f"Needs the scope `{endpoint.scope}`."
        operation["x-scope"] = str(endpoint.scope)
    if endpoint.method in UNSAFE:
        schema = {"type": "object", "maxProperties": 0}
        if endpoint.body is not None:
            schema = schemas.of(endpoint.body, "validation")
        operation["requestBody"] = {
            "required": endpoint.body is not None and bool(schemas.resolved(endpoint.body).get("required")),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.template)
    ]
    if endpoint.query is not None:
        schema = schemas.resolved(endpoint.query)
        for name, about in schema.get("properties", {}).items():
            parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": about}
            if "description" in about:
                parameter["description"] = about["description"]
            found.append(parameter)
    found += [
        {"name": name, "in": "header", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in endpoint.headers.items()
    ]
    return found


def _answer(status: int, model: Any, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _MEANINGS.get(status, "Answer")}
    if model is str:
        described["content"] = {"text/plain": {"schema": {"type": "string"}}}
    elif model is not None:
        described["content"] = {"application/json": {"schema": schemas.of(model, "serialization")}}
    return described


def _operation_id(endpoint: Endpoint) -> str:
    words = re.sub(r"\W+", "_", endpoint.template).strip("_")
    return f"{endpoint.method.lower()}_{words}"
