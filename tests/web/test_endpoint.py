"""The dispatch: one order of checks for every endpoint, and a named error for everything that is wrong."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator, make_token
from sessioncast_server.db.errors import CommitUnknownError, UnavailableError
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint, router, routes
from sessioncast_server.web.inputs import Limits, parse_query
from sessioncast_shared import texts
from sessioncast_shared.resources import Name
from support.asgi import served
from support.waiting import STALL_S

SECRET = "s" * 32
LIMITS = Limits(body_max_bytes=100_000, body_deadline_s=STALL_S, json_max_depth=8)
TASK = "0B2F4B2E-1111-4222-8333-444455556666"


class Body(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=0)] = 0
    words: list[str] = []
    either: Name | list[Name] | None = None
    deep: Any = None

    @field_validator("words")
    @classmethod
    def _no_spaces(cls, words: list[str]) -> list[str]:
        if any(" " in word for word in words):
            raise ValueError("a word has no spaces")
        return words


class Needy(BaseModel):
    """A request that must say something."""

    model_config = ConfigDict(extra="forbid")

    name: str


class Query(BaseModel):
    """Parameters."""

    model_config = ConfigDict(extra="forbid")

    task: list[str] | None = None
    limit: int = 50
    wait: bool = False


async def echo(call: Call) -> Response:
    """Answer with what arrived."""
    seen = {"body": call.body, "query": call.query, "sub": call.principal.sub, "raw": len(call.raw)}
    return Answer(200, json_bytes(seen), {"ETag": '"1"'}).response(call.request_id)


async def ids(call: Call) -> Response:
    """Answer with the canonical ids of the path."""
    return Answer(200, json_bytes([call.project(), call.uuid("task_id")])).response(call.request_id)


def failing(error: Exception) -> Any:
    """A handler that raises."""

    async def handler(call: Call) -> Response:
        raise error

    return handler


TABLE = [
    Endpoint("POST", "/things", echo, "Make", scope="sessions:write", body=Body),
    Endpoint("GET", "/things", echo, "List", query=Query),
    Endpoint("PUT", "/needy", echo, "Say", body=Needy),
    Endpoint("DELETE", "/things", echo, "Remove"),
    Endpoint("GET", "/stream", echo, "No HEAD here", head=False),
    Endpoint("GET", "/open", echo, "For all", public=True),
    Endpoint("GET", "/p/{project_id}/t/{task_id}", ids, "Ids"),
    Endpoint("GET", "/fail/bug", failing(RuntimeError("secret words")), "Bug"),
    Endpoint("GET", "/fail/unknown", failing(CommitUnknownError("x")), "Unknown"),
    Endpoint("GET", "/fail/away", failing(UnavailableError("io")), "Away"),
]
APP = router(routes(TABLE, authenticator=Authenticator(secret=SECRET), limits=LIMITS))


def headers(*scopes: str, projects: list[str] | str = "*") -> dict[str, str]:
    """Headers of somebody with these rights."""
    token = make_token(SECRET, sub="ann", projects=projects, scopes=scopes or ["sessions:write"], ttl_s=60)
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Speaks to the application."""
    with TestClient(APP, headers=headers()) as client:
        yield client


def test_a_right_request_reaches_the_handler_parsed(client: TestClient) -> None:
    """Body, query, principal and raw bytes arrive."""
    answer = client.post("/things", content=b'{"count": 3}')
    assert answer.json() == {
        "body": {"count": 3, "words": [], "either": None, "deep": None},
        "query": None,
        "sub": "ann",
        "raw": 12,
    }
    assert answer.headers["etag"] == '"1"'
    assert len(answer.headers["x-request-id"]) == 16
    assert answer.headers["content-type"] == "application/json"


def test_an_empty_body_counts_as_an_empty_object(client: TestClient) -> None:
    """What needs nothing can be sent without a body; what needs something is told so."""
    assert client.post("/things").json()["body"]["count"] == 0
    answer = client.put("/needy")
    assert (answer.status_code, answer.json()["detail"]) == (422, "name: Field required")


def test_checks_come_in_one_order() -> None:
    """Who, then right, then content type, then size, then JSON, then fields: the first that fails is told."""
    client = TestClient(APP)
    bad = b"{" * 200_000
    assert client.post("/things", content=bad).status_code == 401
    assert client.post("/things", content=bad, headers={**headers("admin"), "Content-Type": "x"}).status_code == 403
    assert client.post("/things", content=bad, headers={**headers(), "Content-Type": "x"}).status_code == 415
    assert client.post("/things", content=bad, headers=headers()).status_code == 413
    assert client.post("/things?x=1", content=b'{"y": 1', headers=headers()).status_code == 400
    assert client.post("/things?x=1", content=b'{"y": 1}', headers=headers()).json()["detail"].startswith("y: ")
    assert client.post("/things?x=1", content=b"{}", headers=headers()).json()["detail"].startswith("x: ")


def test_a_missing_scope_is_named() -> None:
    """403 says which scope is needed."""
    answer = TestClient(APP).post("/things", headers=headers("sessions:read"))
    assert answer.status_code == 403
    assert answer.json()["scope"] == "sessions:write"
    assert answer.json()["detail"] == "The scope sessions:write is needed."


def test_a_public_endpoint_asks_nobody() -> None:
    """No token, or a bad one, does not matter there."""
    assert TestClient(APP).get("/open").status_code == 200
    assert TestClient(APP).get("/open", headers={"Authorization": "Bearer x"}).status_code == 200


@pytest.mark.parametrize("path", ["/p%2Fweb/t/" + TASK, "/p/web%2ft/" + TASK, "/p/web/t/%2f"])
def test_an_encoded_slash_is_404(client: TestClient, path: str) -> None:
    """It neither parts a path nor stands in an id."""
    assert client.get(path).status_code == 404


def test_a_store_that_is_away_is_a_warning(client: TestClient) -> None:
    """Only what nobody foresaw is an error, with its traceback."""
    with structlog.testing.capture_logs() as lines:
        client.get("/fail/away")
        client.get("/fail/bug")
    assert [(line["log_level"], line["event"], "exc_info" in line) for line in lines] == [
        ("warning", "request refused", False),
        ("error", "request failed", True),
    ]


def test_the_body_is_bounded_by_its_length_and_while_it_comes(client: TestClient) -> None:
    """The largest body passes; one byte more is 413, announced or not, however large the announced number."""
    largest = b" " * (LIMITS.body_max_bytes - 2) + b"{}"
    assert client.post("/things", content=largest).status_code == 200
    assert client.post("/things", content=b" " + largest).json()["code"] == "too_large"
    assert client.post("/things", content=iter([largest, b" "])).status_code == 413
    assert client.post("/things", content=b"{}", headers={"Content-Length": "9" * 50}).status_code == 413


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b'{"deep": NaN}', "bad_json"),
        (b'{"count": 1, "count": 1}', "bad_json"),
        (b"[" * 50_000, "too_deep"),
        (b'{"deep": ' + b"[" * 8 + b"]" * 8 + b"}", "too_deep"),
        (b'{"words": ["\\ud800"]}', "bad_unicode"),
        (b'{"words": ["' + b"x" * 70_000 + b'\xff"]}', "bad_unicode"),
    ],
)
def test_bad_json_is_400_by_its_name(client: TestClient, body: bytes, code: str) -> None:
    """Small bodies and those parsed in a thread alike."""
    answer = client.post("/things", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[]", "body: Input should be an object"),
        (b"null", "body: Input should be an object"),
        (b'"x"', "body: Input should be an object"),
        (b'{"count": -1}', "count: Input should be greater than or equal to 0"),
        (b'{"count": 1.5}', "count: Input should be a valid integer, got a number with a fractional part"),
        (b'{"words": ["a", 7]}', "words.1: Input should be a valid string"),
        (b'{"words": ["a b"]}', "words: a word has no spaces"),
        (b'{"either": ["a", "b\\u0000"]}', "either.1: must not contain NUL"),
        (b'{"either": 5}', "either: Input should be a valid string"),
        (b'{"colour": 1}', "colour: Extra inputs are not permitted"),
    ],
)
def test_what_the_model_refuses_is_422_naming_the_field(client: TestClient, body: bytes, detail: str) -> None:
    """The detail names the first field; `errors` has them all."""
    answer = client.post("/things", content=body)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (422, "invalid", detail)
    first = answer.json()["errors"][0]
    assert f"{first['field']}: {first['message']}" == detail


def test_a_refusal_does_not_grow_with_the_request(client: TestClient) -> None:
    """Thousands of mistakes and endless names make a short problem."""
    body = json.dumps({f"{number}" + "x" * 500: 1 for number in range(150)})
    answer = client.post("/things", content=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 10_000


def test_an_endpoint_without_a_body_accepts_none(client: TestClient) -> None:
    """Empty or `{}` is fine; a field is 422."""
    assert client.request("DELETE", "/things").status_code == 200
    assert client.request("DELETE", "/things", content=b"{}").status_code == 200
    assert client.request("DELETE", "/things", content=b'{"a": 1}').status_code == 422
    assert client.request("DELETE", "/things", content=b"[]").status_code == 422


def test_the_body_of_a_get_is_ignored(client: TestClient) -> None:
    """Whatever it holds."""
    answer = client.request("GET", "/things", content=b"{broken")
    assert answer.json()["raw"] == 0


def test_query_parameters_are_validated(client: TestClient) -> None:
    """Only a list may be given twice; the others have their types."""
    answer = client.get("/things?task=a&task=b&limit=3&wait=true")
    assert answer.json()["query"] == {"task": ["a", "b"], "limit": 3, "wait": True}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("bogus=1", "bogus"),
        ("task=%00", "task"),
        ("=1", "body"),
        ("&".join(f"task={number}" for number in range(1001)), "query"),
    ],
)
def test_a_bad_query_is_422_naming_the_parameter(client: TestClient, query: str, field: str) -> None:
    """Unknown, repeated, of another type, with NUL, or too many."""
    answer = client.get(f"/things?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_a_query_that_is_no_utf_8_is_400(client: TestClient) -> None:
    """Percent-encoded garbage is named."""
    assert client.get("/things?task=%ff").json()["code"] == "bad_unicode"


def test_an_endpoint_without_parameters_accepts_none(client: TestClient) -> None:
    """A mistyped parameter is never silently ignored."""
    assert client.get("/open?x=1").status_code == 422


@given(query=st.binary(max_size=60))
def test_no_query_string_raises_anything_but_a_problem(query: bytes) -> None:
    """Any bytes are parsed or refused by name."""
    try:
        parse_query(query, Query, frozenset({"task"}))
    except Problem as problem:
        assert problem.status in (400, 422)  # noqa: PT017  both outcomes are right


def test_ids_in_the_path_are_canonical_or_not_found(client: TestClient) -> None:
    """An id that is no UUID gets the same body as one that nothing has; so does a foreign project."""
    assert client.get(f"/p/web/t/{TASK}").json() == ["web", TASK.lower()]
    foreign = TestClient(APP, headers=headers(projects=["other"]))
    for asker, path in ((client, "/p/web/t/7"), (client, "/p/web/t/%00"), (foreign, f"/p/web/t/{TASK}")):
        answer = asker.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (404, "Not found.")


def test_an_unknown_path_is_a_404_problem(client: TestClient) -> None:
    """Also with a slash too many: nothing is redirected."""
    for path in ("/nowhere", "/things/", "/"):
        answer = client.get(path, follow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_wrong_method_is_405_with_those_there_are(client: TestClient) -> None:
    """Allow names the methods of all endpoints of the path."""
    answer = client.patch("/things")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, POST"
    assert client.head("/stream").status_code == 405


def test_head_is_get_without_the_body(client: TestClient) -> None:
    """The same headers, its length included, and no body."""
    got, head = client.get("/open"), client.head("/open")
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "status", "code", "detail"),
    [
        ("/fail/bug", 500, "unexpected", texts.UNEXPECTED),
        ("/fail/away", 503, "unavailable", texts.UNAVAILABLE),
        ("/fail/unknown", 503, "commit_unknown", None),
    ],
)
def test_a_failure_is_a_problem_and_a_line_in_the_log(
    client: TestClient,
    path: str,
    status: int,
    code: str,
    detail: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The answer shows the request id that the log has, and nothing of the inside; a bug is logged with its trace."""
    answer = client.get(path, headers={"X-Request-Id": "abc-1"})
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (status, code, "abc-1")
    assert detail is None or answer.json()["detail"] == detail
    assert "secret words" not in answer.text
    logged = capsys.readouterr()
    assert ("Traceback" in logged.out + logged.err) == (status == 500)
    assert "abc-1" in logged.out + logged.err


def test_a_table_that_contradicts_itself_is_refused() -> None:
    """The same method twice, and models that would swallow unknown fields, are found at start."""

    class Lax(BaseModel):
        name: str = ""

    twice = [Endpoint("GET", "/a", echo, "One"), Endpoint("HEAD", "/a", echo, "Two")]
    with pytest.raises(ValueError, match="HEAD /a stands in the table twice"):
        routes(twice, authenticator=Authenticator(), limits=LIMITS)
    with pytest.raises(TypeError, match="Lax must forbid extra fields"):
        Endpoint("POST", "/a", echo, "One", body=Lax)


async def test_a_body_that_trickles_is_given_up() -> None:
    """After the deadline 408 is answered; a client that leaves in the middle is answered nothing and harms nothing."""
    async with served(APP) as address:
        host, _, port = address.partition(":")
        lines = [f"{name}: {value}" for name, value in headers().items()]
        head = "\r\n".join(["POST /things HTTP/1.1", "Host: x", "Content-Length: 9", *lines, "", "{"]).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()
        _, leaving = await asyncio.open_connection(host, int(port))
        leaving.write(head)
        await leaving.drain()
        leaving.close()
        await leaving.wait_closed()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
