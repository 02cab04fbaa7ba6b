"""Push switched off and on again: who may have a stream, and what becomes of those there are."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from sessioncast_server.channels.attendant import Wish
from sessioncast_server.flags.rules import Flag, bucket_of
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.transports.push import Push
from sessioncast_shared.codes import Code
from support.api import bearer
from support.hubs import rigged
from support.lanes import EVENTS, LANES, Lane, lanes
from support.streams import Refused, WebSocketStream, follow, sse, websocket
from support.vitals import until_so
from support.waiting import until

ADMIN = bearer(scopes=("sessions:read", "sessions:write", "admin"))
JSON = {"Authorization": ADMIN, "Content-Type": "application/json"}
POLL = {"Authorization": ADMIN, "Accept": "application/json"}
FOR_EVER = "3600"
"""Seconds that no test lasts: who waits for so long, and is answered, was woken."""
EARLY = next(name for name in map("q-{}".format, count()) if bucket_of(Flag.PUSH, name) < 50)
"""A project that push is on for while it is off for `p`."""
SHARE = 1.0
"""Such a percentage."""


@pytest.fixture
async def both(database_url: str, tmp_path: Path) -> AsyncIterator[list[Lane]]:
    """One node on both lanes, with the projects `p` and `EARLY`, on each database; it learns by its own changes."""
    settings = {"DATABASE_URL": database_url, "FLAGS_REFRESH_S": FOR_EVER, "POLL_WAIT_MAX_S": FOR_EVER}
    async with lanes(tmp_path, *LANES, **settings) as found:
        await found[0].request("PUT", f"/v1/projects/{EARLY}", {})
        yield found


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """A client."""
    async with httpx2.AsyncClient(timeout=60) as client:
        yield client


async def switch(http: httpx2.AsyncClient, lane: Lane, **body: Any) -> None:
    """Change the flag."""
    answer = await http.put(f"{lane.url}/v1/admin/flags/push_enabled", json=body, headers=JSON)
    assert answer.status_code == 200, answer.text


async def poll(http: httpx2.AsyncClient, lane: Lane, path: str = EVENTS, **headers: str) -> httpx2.Response:
    """A poll's answer."""
    answer = await http.get(lane.url + path, headers={**POLL, **headers})
    assert answer.status_code in (200, 304), answer.text
    return answer


async def subscribed(socket: WebSocketStream, project: str, ref: str, **more: Any) -> dict[str, Any]:
    """The answer to a subscription of a project: the first frame with that ref."""
    await socket.say("subscribe", project=project, ref=ref, **more)
    await until(lambda: any(frame.get("ref") == ref for frame in socket.frames), f"an answer to {ref}")
    return next(frame for frame in socket.frames if frame.get("ref") == ref)


async def test_while_it_is_off_streams_are_refused_and_polls_are_not(
    both: list[Lane], http: httpx2.AsyncClient
) -> None:
    """503 and an error frame, each with a time to come back; the poll says off, does not wait, and says on again."""
    await switch(http, both[0], state="off")
    for lane in both:
        with pytest.raises(Refused) as refused:
            async with sse(lane.url, EVENTS, token=ADMIN):
                pass
        problem = refused.value.problem
        assert (refused.value.status, problem["code"], problem["retryable"]) == (503, "push_disabled", True)
        answer = await http.get(lane.url + EVENTS, headers={"Authorization": ADMIN})
        assert 2 <= int(answer.headers["retry-after"]) <= 4
        with pytest.raises(Refused) as missing:
            async with sse(lane.url, "/v1/projects/nowhere/events", token=ADMIN):
                pass
        assert missing.value.status == 404
        async with websocket(lane.url, token=ADMIN) as socket:
            error = await subscribed(socket, "p", "a", snapshot="never")  # it would be opened at once
            assert (error["op"], error["code"]) == ("error", "push_disabled")
            assert error["detail"]
            assert 2000 <= error["retry_ms"] <= 4000
            assert (await subscribed(socket, "nowhere", "b"))["code"] == "not_found"
            await socket.say("ping")
            await socket.said("pong")
        first = await poll(http, lane, f"{EVENTS}?wait={FOR_EVER}")
        assert (first.headers["x-push"], first.json()["state"]) == ("off", "snapshot")
        again = await poll(http, lane, f"{EVENTS}?wait={FOR_EVER}", **{"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.headers["x-push"]) == (304, "off")
    assert both[0].application.admission.open == 0
    await switch(http, both[0], state="on")
    for lane in both:
        assert (await poll(http, lane, **{"If-None-Match": again.headers["etag"]})).headers["x-push"] == "on"
        for kind in ("sse", "websocket"):
            async with follow(kind, lane.url, "p", token=ADMIN) as stream:
                await stream.said("snapshot")


async def test_when_it_goes_off_a_projects_streams_end_and_no_other(both: list[Lane], http: httpx2.AsyncClient) -> None:
    """A goodbye, `unsubscribed` on connections that go on, and answers for who waits; other projects notice nothing."""
    hub = both[0].application.hub
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        ending = [await stack.enter_async_context(sse(lane.url, EVENTS, token=ADMIN)) for lane in both]
        path = f"/v1/projects/{EARLY}/events"
        staying = [await stack.enter_async_context(sse(lane.url, path, token=ADMIN)) for lane in both]
        sockets = [await stack.enter_async_context(websocket(lane.url, token=ADMIN)) for lane in both]
        for socket in sockets:
            keys = [(await subscribed(socket, project, project))["key"] for project in ("p", EARLY)]
            await socket.said("snapshot", 2)
        for stream in ending + staying:
            await stream.said("snapshot")
        position = (await poll(http, both[0])).json()["position"]
        wait = f"wait={FOR_EVER}&position={position}"
        waiting = [group.create_task(poll(http, lane, f"{EVENTS}?{wait}")) for lane in both]
        await until(lambda: hub.subscribers == 10, "all streams, and two polls that wait")
        await switch(http, both[0], state="percentage", percentage=SHARE)
        for stream in ending:
            goodbye = await stream.said("goodbye")
            assert goodbye["reason"] == "push_disabled"
            assert goodbye["retry_ms"] >= 1000
            assert await stream.over() == "end"
        for socket in sockets:
            gone = await socket.said("unsubscribed")
            assert (gone["key"], gone["reason"]) == (keys[0], "push_disabled")
        for answer in await asyncio.gather(*waiting):
            assert (answer.json()["events"], answer.headers["x-push"]) == ([], "off")
        await http.post(f"{both[0].url}/v1/projects/{EARLY}/tasks", json={"title": "T"}, headers=JSON)
        for each in (*staying, *sockets):
            await each.counted(1)
        assert hub.subscribers == 4
        await switch(http, both[0], state="on")
        for socket in sockets:
            assert (await subscribed(socket, "p", "again"))["op"] == "subscribed"
            assert socket.closed is None
        assert [stream.ops.count("goodbye") for stream in staying] == [0, 0]


async def test_a_change_that_leaves_a_project_on_ends_nothing(both: list[Lane], http: httpx2.AsyncClient) -> None:
    """From all to a share that it is in, and back: its stream never notices."""
    async with sse(both[0].url, f"/v1/projects/{EARLY}/events", token=ADMIN) as stream:
        await stream.said("snapshot")
        for body in ({"state": "percentage", "percentage": SHARE}, {"state": "percentage", "percentage": 50}):
            await switch(http, both[0], **body)
            assert (await poll(http, both[0], f"/v1/projects/{EARLY}/events")).headers["x-push"] == "on"
        await switch(http, both[0], state="on")
        await http.post(f"{both[0].url}/v1/projects/{EARLY}/tasks", json={"title": "T"}, headers=JSON)
        await stream.counted(1)
        assert "goodbye" not in stream.ops


def turns_off(answers: int) -> Callable[[Flag, str], bool]:
    """A switch that is on so many times when it is asked, and off from then on."""
    asked = count()
    return lambda *_: next(asked) < answers


async def test_a_stream_that_opens_while_it_goes_off_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http: httpx2.AsyncClient
) -> None:
    """Let in by a switch that is off once it has its place, when others were ended already: it ends too, both lanes."""
    async with lanes(tmp_path, *LANES, FLAGS_REFRESH_S=FOR_EVER, POLL_WAIT_MAX_S=FOR_EVER) as both:
        application = both[0].application
        position = (await poll(http, both[0])).json()["position"]

        def going_off() -> None:
            monkeypatch.setattr(application.flags, "enabled", turns_off(1))

        for lane in both:
            for snapshot in ("auto", "never"):
                going_off()
                async with sse(lane.url, EVENTS, token=ADMIN, query=[("snapshot", snapshot)]) as stream:
                    assert (await stream.said("goodbye"))["reason"] == "push_disabled"
                    assert await stream.over() == "end"
            async with websocket(lane.url, token=ADMIN) as socket:
                going_off()
                late = await subscribed(socket, "p", "a")
                assert (late["op"], late["code"]) == ("error", Code.PUSH_DISABLED)
                going_off()
                early = await subscribed(socket, "p", "b", snapshot="never")
                gone = await socket.said("unsubscribed")
                assert (early["op"], gone["key"], gone["reason"]) == ("subscribed", early["key"], "push_disabled")
                assert socket.ops == ["error", "subscribed", "unsubscribed"]
            going_off()
            answer = await poll(http, lane, f"{EVENTS}?wait={FOR_EVER}&position={position}")
            assert answer.headers["x-push"] == "off"
        await until(lambda: application.hub.subscribers == application.admission.open == 0, "nothing to be left")


async def test_many_streams_end_in_many_turns_of_the_loop(tmp_path: Path) -> None:
    """Of two thousand not more than five hundred go in one turn; who changes its mind on the way ends no more."""
    turn = 0
    running = True

    def on() -> None:
        nonlocal turn
        turn += 1
        if running:
            asyncio.get_running_loop().call_soon(on)

    async with rigged(tmp_path) as rig:
        hub = await rig.node()
        sinks = [await rig.join(hub, wish=Wish(None, "never")) for _ in range(2000)]
        asked: Counter[int] = Counter()

        def until_asked(most: int) -> Callable[[str], bool]:
            asked.clear()

            def off(project: str) -> bool:
                assert project == "p"
                asked[turn] += 1
                return asked.total() <= most

            return off

        on()
        assert await hub.end_streams(until_asked(300), "push_disabled") == 300
        assert Counter(sink.ended for sink in sinks) == {"push_disabled": 300, None: 1700}
        assert await hub.end_streams(until_asked(2000), "push_disabled") == 1700
        assert {sink.ended for sink in sinks} == {"push_disabled"}
        assert max(asked.values()) <= 500
        assert await hub.end_streams(until_asked(2000), "push_disabled") == hub.subscribers == 0
        running = False


async def test_no_change_is_missed(tmp_path: Path) -> None:
    """It looks when it begins, again after a change that came while it looked, and after each later one."""
    async with rigged(tmp_path) as rig:
        hub = await rig.node()
        asked = 0

        def enabled(project: str) -> bool:
            nonlocal asked
            assert project == "p"
            asked += 1
            if asked == 1:
                push.changed()  # while it looks; this look goes on by what was
            return asked == 1

        push = Push(hub, Metrics(), decided=lambda: None, enabled=enabled)
        first = await rig.join(hub, wish=Wish(None, "never"))
        running = asyncio.create_task(push.run_for_ever())
        try:
            await first.over()
            second = await rig.join(hub, wish=Wish(None, "never"))
            push.changed()
            await second.over()
        finally:
            running.cancel()
        assert (first.ended, second.ended, asked) == ("push_disabled", "push_disabled", 3)


async def test_a_poll_that_is_not_to_wait_needs_no_place(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    """While a user has all the streams it may have, polls of a project that is not pushed to are answered."""
    async with lanes(tmp_path, "auto", PRINCIPAL_STREAMS_MAX="1") as [lane]:
        await lane.request("PUT", f"/v1/projects/{EARLY}", {})
        async with sse(lane.url, f"/v1/projects/{EARLY}/events", token=ADMIN) as stream:
            await stream.said("snapshot")
            refused = await http.get(f"{lane.url}{EVENTS}?wait=1", headers=POLL)
            assert refused.status_code == 429
            await switch(http, lane, state="percentage", percentage=SHARE)
            assert (await poll(http, lane, f"{EVENTS}?wait=1")).headers["x-push"] == "off"


async def test_a_poll_that_nothing_would_wake_is_answered(tmp_path: Path, http: httpx2.AsyncClient) -> None:
    """One whose place was taken away does not wait on, though push is on again by the time that it looks."""
    async with lanes(tmp_path, "auto", POLL_WAIT_MAX_S=FOR_EVER) as [lane]:
        position = (await poll(http, lane)).json()["position"]
        waiting = asyncio.create_task(poll(http, lane, f"{EVENTS}?wait={FOR_EVER}&position={position}"))

        async def ended() -> bool:
            return await lane.application.hub.end_streams(lambda _: True, "push_disabled") == 1

        await until_so(ended, lambda: "a poll that waits")
        answer = await waiting
        assert (answer.json()["events"], answer.headers["x-push"]) == ([], "on")


async def test_what_is_ended_is_told_and_counted(both: list[Lane], http: httpx2.AsyncClient) -> None:
    """The metrics have how many were ended and how many were refused, and the log has a line of each time."""
    metrics = both[0].application.metrics.registry
    with structlog.testing.capture_logs() as lines:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                stream = await stack.enter_async_context(sse(both[0].url, EVENTS, token=ADMIN))
                await stream.said("snapshot")
            await switch(http, both[0], state="off")
            await stream.over()
            await until(lambda: metrics.get_sample_value("sessioncast_push_ended_total") == 3, "three to be counted")
            assert (await http.get(both[0].url + EVENTS, headers={"Authorization": ADMIN})).status_code == 503
            refused = {"reason": "push_disabled"}
            assert metrics.get_sample_value("sessioncast_streams_refused_total", refused) == 1
    assert [line["streams"] for line in lines if line["event"].startswith("streams ended")] == [3]
