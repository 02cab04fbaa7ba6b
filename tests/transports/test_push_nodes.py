"""Push switched at one node, and what the others' streams are told."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx2

from support.cluster import start_node
from support.node import NodeFactory
from support.streams import Refused, sse, websocket
from support.team import PROJECT, stream_at, workers
from support.valkey import Valkey
from support.vitals import until_so
from support.waiting import until

EVENTS = f"/v1/projects/{PROJECT}/events"


async def test_every_node_and_every_worker_obeys(
    node_factory: NodeFactory, migrated_postgres_url: str, valkey: Valkey
) -> None:
    """Switched off at A, streams at A and at both workers of B end, and polls say so; on at B, all may come again."""
    a = await start_node(node_factory, migrated_postgres_url, valkey.url)
    b = await start_node(node_factory, migrated_postgres_url, valkey.url, SESSIONCAST_WORKERS="2")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60))
        (await http.put(f"{a.url}/v1/projects/{PROJECT}", json={})).raise_for_status()
        held = [one.stream for one in await stream_at(stack, b, "sse", *workers(b))]
        held.append(await stack.enter_async_context(sse(a.url, EVENTS, token="")))
        socket = await stack.enter_async_context(websocket(b.url, token=None))
        await socket.say("subscribe", project=PROJECT, ref="first")
        await socket.said("snapshot")
        flag = "/v1/admin/flags/push_enabled"
        (await http.put(f"{a.url}{flag}", json={"state": "off"})).raise_for_status()
        for stream in held:
            assert (await stream.said("goodbye"))["reason"] == "push_disabled"
            assert await stream.over() == "end"
        assert (await socket.said("unsubscribed"))["reason"] == "push_disabled"
        for url in (a.url, b.url):
            assert not await opens(url)()
            answer = await http.get(url + EVENTS, headers={"Accept": "application/json"})
            assert (answer.status_code, answer.headers["x-push"]) == (200, "off")
        (await http.put(f"{b.url}{flag}", json={"state": "on"})).raise_for_status()
        for url in (a.url, b.url):
            await until_so(opens(url), lambda url=url: f"a stream at {url}")  # type: ignore[misc]  # bound early
        # The worker that holds the connection may learn of it a moment after the other.
        ref = 0

        async def subscribed() -> bool:
            nonlocal ref
            ref += 1
            await socket.say("subscribe", project=PROJECT, ref=ref)
            await until(lambda: any(frame.get("ref") == ref for frame in socket.frames), "an answer")
            return "subscribed" in [frame["op"] for frame in socket.frames if frame.get("ref") == ref]

        await until_so(subscribed, lambda: f"a subscription; {socket.frames[-1]}")
        assert socket.closed is None


def opens(url: str) -> Callable[[], Awaitable[bool]]:
    """Asks whether a stream is to be had."""

    async def ask() -> bool:
        try:
            async with sse(url, EVENTS, token="") as stream:
                await stream.said("snapshot")
        except Refused as refused:
            if (refused.status, refused.problem["code"]) != (503, "push_disabled"):
                raise
            return False
        return True

    return ask
