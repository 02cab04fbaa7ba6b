"""The WebSocket on a real node: who may, what is refused, and what each ending is called."""

import asyncio
import json
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sessioncast_server.auth.tokens import make_token
from support.api import ALL_SCOPES, SECRET, Api, bearer
from support.node import Node, NodeFactory
from support.ports import free_port
from support.streams import follow, sse, websocket
from support.waiting import until


def token(**claims: object) -> str:
    """A bare token."""
    return bearer(**claims).removeprefix("Bearer ")  # type: ignore[arg-type]  # as `bearer`


async def test_auth_by_frame(node: Node, api: Api) -> None:
    """Nothing goes before auth; then everything; a renewal keeps the user and may narrow the projects."""
    one, two = api.project(), api.project()
    async with websocket(node.url, token=None) as socket:
        await socket.say("subscribe", project=one)
        assert (await socket.said("error"))["code"] == "unauthenticated"
        await socket.say("auth", token="nonsense", ref=1)
        assert ((await socket.said("error", 2))["code"], socket.frames[-1]["ref"]) == ("unauthenticated", 1)
        await socket.say("auth", token=token())
        assert (await socket.said("authenticated"))["sub"] == "ann"
        for project in (one, two):
            await socket.say("subscribe", project=project)
        await socket.said("subscribed", 2)
        await socket.say("auth", token=token(sub="bob"))
        assert (await socket.said("error", 3))["code"] == "forbidden"
        await socket.say("auth", token=token(projects=[two]))
        await socket.said("authenticated", 2)
        gone = await socket.said("unsubscribed")
        assert (gone["key"].startswith(one), gone["reason"]) == (True, "forbidden")
        await socket.say("auth", token=token(projects=[two], scopes=["sessions:write"]))
        assert (await socket.said("unsubscribed", 2))["key"].startswith(two)
        await socket.say("subscribe", project=two)
        assert (await socket.said("error", 4))["code"] == "forbidden"


async def test_who_says_nothing_is_closed(node: Node) -> None:
    """Without auth in time 4401, however many pings come; a bad token in the header 4401 at once."""
    async with websocket(node.url, token=None) as quiet, websocket(node.url, token=None) as noisy:

        async def ping() -> None:
            while noisy.closed is None:
                await noisy.say("ping")
                await asyncio.sleep(0.05)

        pinging = asyncio.create_task(ping())
        assert await quiet.over() == 4401
        assert await noisy.over() == 4401
        await asyncio.gather(pinging, return_exceptions=True)
    async with websocket(node.url, token="Bearer nonsense") as bad:
        assert await bad.over() == 4401


async def test_a_header_that_breaks_the_library_is_4401(node: Node) -> None:
    """A signed token whose expiry is no time at all is a bad token, over HTTP too."""
    claims = {"sub": "ann", "projects": "*", "scopes": list(ALL_SCOPES), "exp": 10**400}
    broken = f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"
    async with websocket(node.url, token=broken) as bad:
        assert await bad.over() == 4401
    with Api(node.url, database="sqlite", token=broken).http as http:
        assert http.get(f"{node.url}/v1/tasks/x", headers={"Authorization": broken}).status_code == 401


async def test_a_key_set_that_is_away_is_a_goodbye(node_factory: NodeFactory) -> None:
    """What the server lacks is no fault of the token: come back later, said in-band, and not logged as a failure."""
    closed = f"http://127.0.0.1:{free_port()}/keys"
    node = await node_factory(env={"SESSIONCAST_JWKS_URL": closed})
    made = jwt.encode({"sub": "ann"}, generate_private_key(SECP256R1()), "ES256", headers={"kid": "k"})
    async with websocket(node.url, token=f"Bearer {made}") as socket:
        goodbye = await socket.said("goodbye")
        assert goodbye["reason"] == "overloaded"
        assert goodbye["retry_ms"] >= 1000
        assert await socket.over() == 4429
    assert "Traceback" not in node.log()


async def test_a_user_that_is_none_is_4400(node_factory: NodeFactory) -> None:
    """In open mode a header X-User that names nobody ends the connection, as it is 422 over HTTP."""
    node = await node_factory()
    async with connect(node.url.replace("http", "ws") + "/v1/ws", additional_headers={"X-User": " "}) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


async def test_a_foreign_origin_is_refused_before_it_is_accepted(node: Node) -> None:
    """403, not a WebSocket."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(node.url.replace("http", "ws") + "/v1/ws", origin="https://evil.example"):  # type: ignore[arg-type]  # a text
            pass
    assert refused.value.response.status_code == 403


async def test_bad_frames_are_answered_and_the_connection_goes_on(node: Node, api: Api) -> None:
    """Binary, not JSON, deep, over 64 KiB, unknown: a named error each, then a subscription works as ever."""
    project = api.project()
    bad: list[str | bytes] = [
        b"\x00\xff", "{", "[" * 200_000, "x" * 70_000, '{"op":"ping","op":"ping"}', '{"op":"shout","ref":"r"}',
        '{"op":"ping","more":1}', '{"op":"unsubscribe","key":"nothing"}', '{"op":"ping","ref":99999999999999999999}',
        json.dumps({"op": "subscribe", "project": project, "position": "garbage"}),
        json.dumps({"op": "subscribe", "project": "a\u0000b"}),
    ]  # fmt: skip
    async with websocket(node.url, token=bearer()) as socket:
        for each in bad:
            await socket.socket.send(each)
        await socket.said("error", len(bad))
        assert [each["code"] for each in socket.of("error")] == [
            "bad_request", "bad_json", "too_large", "too_large", "bad_json", "bad_request", "invalid", "not_found",
            "bad_json", "bad_cursor", "not_found",
        ]  # fmt: skip
        assert socket.of("error")[5]["ref"] == "r"
        await socket.say("subscribe", project=project)
        await socket.said("snapshot")
        await socket.say("ping", ref=5)
        assert await socket.said("pong") == {"op": "pong", "ref": 5}


async def test_many_subscriptions_on_one_connection(node: Node, api: Api) -> None:
    """Each has its key; a second of one key and one too many are refused; after unsubscribe nothing more comes."""
    projects = [api.project() for _ in range(6)]
    async with websocket(node.url, token=bearer()) as socket:
        for project in projects[:5]:
            await socket.say("subscribe", project=project, ref=project)
        await socket.said("snapshot", 5)
        keys = {each["ref"]: each["key"] for each in socket.of("subscribed")}
        assert len(set(keys.values())) == 5
        await socket.say("subscribe", project=projects[0])
        assert (await socket.said("error"))["key"] == keys[projects[0]]
        assert socket.frames[-1]["code"] == "bad_request"
        await socket.say("subscribe", project=projects[5])
        assert (await socket.said("error", 2))["code"] == "too_many"
        await socket.say("unsubscribe", key=keys[projects[0]], ref="bye")
        assert (await socket.said("unsubscribed"))["ref"] == "bye"
        for project in projects[:2]:
            api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": "T"}), 201)
        await socket.counted(1)
        assert socket.of("events")[0]["key"] == keys[projects[1]]
        await socket.say("subscribe", project=projects[0])
        await socket.said("snapshot", 6)


async def test_expiry_ends_streams_with_a_word(node: Node, api: Api) -> None:
    """When the token expires: goodbye `expired` and a time to come back; the WebSocket closes with 4401."""
    project = api.project()
    short = f"Bearer {make_token(SECRET, sub='ann', projects='*', scopes=ALL_SCOPES, ttl_s=7)}"
    async with (
        follow("sse", node.url, project, token=short) as events,
        follow("websocket", node.url, project, token=short) as socket,
    ):
        for stream in (events, socket):
            goodbye = await stream.said("goodbye")
            assert goodbye["reason"] == "expired"
            assert goodbye["retry_ms"] >= 1000
        assert await events.over() == "end"
        assert await socket.over() == 4401


async def test_gauge_of_subscribers_goes_up_and_down(node: Node, api: Api) -> None:
    """Each open subscription counts by its transport, and none when all have left."""
    project = api.project()

    def gauge(transport: str) -> float:
        text = api.http.get(f"{node.url}/metrics").text
        found = [line for line in text.splitlines() if f'sessioncast_subscribers{{transport="{transport}"}}' in line]
        return float(found[0].split()[-1]) if found else 0.0

    await until(lambda: gauge("sse") == gauge("websocket") == 0, "streams of other tests to go")
    async with (
        follow("sse", node.url, project, token=bearer()) as events,
        follow("websocket", node.url, project, token=bearer()) as socket,
    ):
        await events.said("snapshot")
        await socket.said("snapshot")
        assert gauge("sse") == gauge("websocket") == 1
    await until(lambda: gauge("sse") == gauge("websocket") == 0, "both to leave")


async def test_urls_of_streams(node: Node, api: Api) -> None:
    """The header's position wins over the query's; HEAD is 405; shorthands filter, and take no other ids."""
    work = api.work()
    epoch = api.get(f"/v1/projects/{work.project}").headers["X-Position"].partition(":")[0]
    path = f"/v1/projects/{work.project}/events"
    async with sse(
        node.url, path, token=bearer(), query=[("position", f"{epoch}:1")], headers={"Last-Event-ID": f"{epoch}:0"}
    ) as stream:
        await stream.counted(1)
    assert api.request("HEAD", path).status_code == 405
    assert api.get(f"{path}?position=x").json()["code"] == "bad_cursor"
    assert api.get(path, headers={"Last-Event-ID": "x"}).json()["code"] == "bad_cursor"
    assert api.get(f"{path}?nonsense=1").status_code == 422
    assert api.get(f"{path}?kinds=").json()["code"] == "bad_filter"
    async with sse(node.url, f"/v1/tasks/{work.task}/events", token=bearer()) as stream:
        snapshot = await stream.said("snapshot")
        assert [each["data"]["id"] for each in snapshot["resources"]] == [work.task]
    assert api.get(f"/v1/tasks/{work.task}/events?task={work.task}").json()["code"] == "bad_filter"
    assert api.get(f"/v1/tasks/{uuid4()}/events").status_code == 404
