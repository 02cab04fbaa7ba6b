"""Paths whose last parameter may hold slashes."""

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint, router, routes
from sessioncast_server.web.inputs import Limits


async def rest(call: Call) -> Response:
    """Answer with the rest of the path, and the route that was taken."""
    seen = [call.path["project_id"], call.text("name"), call.request.scope["state"]["template"]]
    return Answer(200, json_bytes(seen)).response(call.request_id)


TABLE = [
    Endpoint("GET", "/p/{project_id}/m", rest, "Names", public=True),
    Endpoint("GET", "/p/{project_id}/m/{name:path}", rest, "Name", public=True),
]
CLIENT = TestClient(router(routes(TABLE, authenticator=Authenticator(secret="s" * 32), limits=Limits())))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a%2fb", "a/b"),
        ("a%2Fb/c", "a/b/c"),
        ("%2F", "/"),
        ("", ""),
        ("/", "/"),
        ("a%0A", "a\n"),
        ("a%0Ab%0D", "a\nb\r"),
        ("%C3%A9", "\u00e9"),
    ],
)
def test_the_last_parameter_may_hold_slashes(path: str, name: str) -> None:
    """Where the table says so it is all that is left, slashes raw or encoded, to the letter; the route is one."""
    assert CLIENT.get(f"/p/web/m/{path}").json() == ["web", name, "/p/{project_id}/m/{name}"]


@pytest.mark.parametrize("path", ["/p%2Fweb/m/a", "/p/we%2Fb/m/a", "/p/web%2fm/m/a", "/p/web/m%2Fa", "/p/web/m%2F"])
def test_only_the_last_parameter_may_hold_slashes(path: str) -> None:
    """Encoded before it, a slash is 404 as everywhere."""
    assert CLIENT.get(path).json()["code"] == "not_found"


@pytest.mark.parametrize("name", ["%ff", "a/%C3", "%ED%A0%80"])
def test_a_text_in_the_path_is_utf8(name: str) -> None:
    """What is not is 400, for a server would read two such names as one."""
    assert CLIENT.get(f"/p/web/m/{name}").json()["code"] == "bad_unicode"


@pytest.mark.parametrize("path", ["/{a:path}/b", "/{a:int}", "/{a:path}/{b:path}"])
def test_a_table_holds_slashes_nowhere_else(path: str) -> None:
    """An endpoint of which that cannot be said is refused when it is made."""
    with pytest.raises(TypeError, match="only the last parameter"):
        Endpoint("GET", path, rest, "Bad")
