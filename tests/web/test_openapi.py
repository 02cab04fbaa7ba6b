"""OpenAPI from the table that the dispatch obeys."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.web.cursor import PageQuery
from sessioncast_server.web.endpoint import Call, Endpoint, router, routes
from sessioncast_server.web.inputs import Limits
from sessioncast_server.web.openapi import document, pages
from sessioncast_shared.resources import Model, Page, Session, StartOutcome


class Start(BaseModel):
    """The start of a session."""

    model_config = ConfigDict(extra="forbid")

    model: Model
    debug: bool = False


async def nothing(call: Call) -> Response:
    """Answer nothing."""
    return Response(status_code=204)


TABLE = [
    Endpoint(
        "POST",
        "/v1/tasks/{task_id}/sessions",
        nothing,
        "Start",
        scope="sessions:write",
        body=Start,
        answers={200: StartOutcome, 201: StartOutcome},
        tag="sessions",
        headers={"Idempotency-Key": "names the change"},
    ),
    Endpoint("GET", "/v1/tasks/{task_id}/sessions", nothing, "Lookup", query=PageQuery, answers={200: Page[Session]}),
    Endpoint("DELETE", "/v1/sessions/{session_id}", nothing, "Delete", answers={204: None}),
    Endpoint("PUT", "/v1/texts/{text_id}/names/{name:path}", nothing, "Name", answers={204: None}),
    Endpoint("GET", "/v1/texts", nothing, "Texts", answers={200: dict[str, list[int]]}, public=True),
]
DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(TABLE, title="sessioncast", version="1.2.3")))


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref")
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolve(reference: str) -> Any:
    """What a reference within the document stands for."""
    found: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return found


def test_every_endpoint_is_there_and_nothing_else() -> None:
    """Paths and methods are those of the table."""
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(endpoint.method, endpoint.path.replace(":path", "")) for endpoint in TABLE}
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"] == {"title": "sessioncast", "version": "1.2.3"}


def test_every_reference_resolves() -> None:
    """No schema is named that is not there."""
    found = set(references(DOCUMENT))
    assert "#/components/schemas/Session" in found
    for reference in found:
        assert isinstance(resolve(reference), dict)


def test_operations_have_names_of_their_own() -> None:
    """An operationId is unique, so that generated clients have one method each."""
    names = [about["operationId"] for methods in DOCUMENT["paths"].values() for about in methods.values()]
    assert len(set(names)) == len(TABLE)


def test_what_is_read_is_described_as_it_is_read() -> None:
    """Body, path, query and header parameters of an operation."""
    start = DOCUMENT["paths"]["/v1/tasks/{task_id}/sessions"]["post"]
    body = resolve(start["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert body["required"] == ["model"]
    assert body["additionalProperties"] is False
    assert start["requestBody"]["required"] is True
    assert {(found["in"], found["name"]) for found in start["parameters"]} == {
        ("path", "task_id"),
        ("header", "Idempotency-Key"),
    }
    lookup = DOCUMENT["paths"]["/v1/tasks/{task_id}/sessions"]["get"]
    limit = next(found for found in lookup["parameters"] if found["name"] == "limit")
    assert (limit["in"], limit["required"], limit["schema"]["maximum"]) == ("query", False, 200)


def test_a_parameter_with_slashes_is_shown_as_any_other() -> None:
    """Neither the path nor the operation's name has what the router is told with it."""
    put = DOCUMENT["paths"]["/v1/texts/{text_id}/names/{name}"]["put"]
    assert [found["name"] for found in put["parameters"]] == ["text_id", "name"]
    assert put["operationId"] == "put_v1_texts_text_id_names_name"


def test_a_method_without_a_model_takes_an_empty_object() -> None:
    """What the dispatch refuses is not described as welcome."""
    removal = DOCUMENT["paths"]["/v1/sessions/{session_id}"]["delete"]
    assert removal["requestBody"]["content"]["application/json"]["schema"]["maxProperties"] == 0
    assert removal["requestBody"]["required"] is False


def test_answers_and_problems_are_described() -> None:
    """A status without a body has no content; every operation may answer a problem."""
    for methods in DOCUMENT["paths"].values():
        for about in methods.values():
            problem = resolve(about["responses"]["default"]["$ref"])
            assert set(problem["content"]) == {"application/problem+json"}
    assert "content" not in DOCUMENT["paths"]["/v1/sessions/{session_id}"]["delete"]["responses"]["204"]
    texts = DOCUMENT["paths"]["/v1/texts"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert texts["additionalProperties"] == {"items": {"type": "integer"}, "type": "array"}


def test_rights_are_described() -> None:
    """A bearer token except for what is public, and the scope."""
    start = DOCUMENT["paths"]["/v1/tasks/{task_id}/sessions"]["post"]
    assert (start["security"], start["x-scope"]) == ([{"bearer": []}], "sessions:write")
    assert DOCUMENT["paths"]["/v1/texts"]["get"]["security"] == []


def test_the_page_is_whole_in_itself() -> None:
    """`/docs` loads nothing but the document, may run nothing from elsewhere, and needs no token."""
    app = router(routes(pages(DOCUMENT), authenticator=Authenticator(secret="s" * 32), limits=Limits()))
    with TestClient(app) as client:
        page = client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert re.findall(r"""(?:src|href)=["']([^"']+)""", page.text) == ["openapi.json"]
        assert "innerHTML" not in page.text
        assert client.get("/openapi.json").json() == DOCUMENT
