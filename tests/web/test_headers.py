"""Headers that the dispatch reads: what a body says it is, and what may come once only."""

from collections.abc import Iterator

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint, router, routes
from sessioncast_server.web.inputs import Limits


async def lines(call: Call) -> Response:
    """Answer with two headers."""
    return Answer(200, json_bytes([call.request.headers.get(name) for name in ("if-match", "x-a")])).response(
        call.request_id
    )


async def nothing(call: Call) -> Response:
    """Answer."""
    return Answer(200, b"{}").response(call.request_id)


TABLE = [
    Endpoint("POST", "/things", nothing, "Make"),
    Endpoint("DELETE", "/things", nothing, "Remove"),
    Endpoint("PUT", "/needy", nothing, "Say"),
    Endpoint("GET", "/things", nothing, "List"),
    Endpoint("GET", "/headers", lines, "Headers"),
]
APP = router(routes(TABLE, authenticator=Authenticator(), limits=Limits()))


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Speaks to the application."""
    with TestClient(APP, headers={"Content-Type": "application/json"}) as client:
        yield client


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "json",
        "application/json; v=1; charset=latin-1",
    ],
)
def test_an_unsafe_request_says_that_it_is_json(client: TestClient, content_type: str) -> None:
    """415 for anything else, also with an empty body and for every unsafe method."""
    for method, path in (("POST", "/things"), ("DELETE", "/things"), ("PUT", "/needy")):
        answer = client.request(method, path, headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", 'Application/JSON;Charset="UTF-8"', "application/json;v=1"]
)
def test_parameters_of_the_content_type_are_fine(client: TestClient, content_type: str) -> None:
    """Case, spaces and quotes do not matter."""
    assert client.post("/things", headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize(
    "twice",
    [["application/json", "application/json"], ["application/json", "text/plain"], ["text/plain", "application/json"]],
)
def test_two_content_types_are_415(client: TestClient, twice: list[str]) -> None:
    """Another reader of the request might believe the other one."""
    with TestClient(APP) as bare:
        answer = bare.post("/things", headers=[("Content-Type", each) for each in twice])
    assert answer.status_code == 415


def test_headers_with_one_value_come_once(client: TestClient) -> None:
    """A second line of such a header is 400, naming it, also when it says the same."""
    for name in ("Authorization", "Idempotency-Key", "X-Session-Fence", "X-User", "Last-Event-ID"):
        answer = client.get("/things", headers=[(name, "7"), (name, "7")])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), name
        assert name in answer.json()["detail"]


def test_headers_that_are_lists_are_joined(client: TestClient) -> None:
    """What came in several lines is one list; other headers are left alone."""
    answer = client.get("/headers", headers=[("If-Match", '"1"'), ("X-A", "1"), ("If-Match", '"2"'), ("X-A", "2")])
    assert answer.json() == ['"1", "2"', "1"]


def test_a_compressed_body_is_415(client: TestClient) -> None:
    """Nothing is unpacked: a bomb stays packed."""
    assert client.post("/things", content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 415
