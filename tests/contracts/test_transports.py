"""Every transport tells the same, on every backend, through any node."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest

from support.api import SECRET, Api
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database
from support.streams import Kind, Refused, follow

_ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_HEARTBEAT_S": "0.5",
    "SESSIONCAST_REPLAY_MAX_EVENTS": "40",
    "SESSIONCAST_SNAPSHOT_PAGE": "4",
    "SESSIONCAST_SNAPSHOT_MAX": "12",
}


@pytest.fixture(scope="module", params=["sqlite and memory", "postgresql and redis"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api]]:
    """A node that is written to and a node that is read from; with SQLite they are one."""
    folder = tmp_path_factory.mktemp("nodes")
    if request.param.startswith("sqlite"):
        node = NodeProcess(folder, port=free_port(), env=_ENV, arguments=())
        node.start()
        api = Api(node.url, database="sqlite")
        yield api, api
        api.http.close()
        node.stop()
        return
    with fresh_database(request.getfixturevalue("postgres").url) as url:
        env = {"SESSIONCAST_DATABASE_URL": url, "SESSIONCAST_REDIS_URL": request.getfixturevalue("valkey").url}
        subprocess.run([sys.executable, "-m", "sessioncast", "migrate"], env=os.environ | env, cwd=folder, check=True)
        nodes = [NodeProcess(folder, port=free_port(), env={**_ENV, **env}, arguments=()) for _ in range(2)]
        for node in nodes:
            node.start()
        apis = [Api(node.url, database="postgresql") for node in nodes]
        yield apis[0], apis[1]
        for api, node in zip(apis, nodes, strict=True):
            api.http.close()
            node.stop()


@pytest.fixture(params=["sse", "websocket"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Which transport."""
    kind: Kind = request.param
    return kind


class Scene:
    """A project with a task, a session of it with output, and another task."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.project = api.project()
        self.task = self.make_task("one")
        self.other = self.make_task("two")
        started = api.post(f"/v1/tasks/{self.task}/sessions", {"phase": "run", "model": {"name": "m"}})
        self.session = api.ok(started, 201)["session"]["id"]
        self.say("hello ünïcode \u2028 \r\n")

    def make_task(self, title: str) -> str:
        """Its id."""
        return str(self.api.ok(self.api.post(f"/v1/projects/{self.project}/tasks", {"title": title}), 201)["id"])

    def say(self, text: str) -> None:
        """Output of the session."""
        self.api.ok(self.api.post(f"/v1/sessions/{self.session}/output", {"chunks": [{"text": text}]}), 200)

    @property
    def epoch(self) -> str:
        """Of its log."""
        return self.api.get(f"/v1/projects/{self.project}").headers["X-Position"].partition(":")[0]


async def test_a_fresh_stream_is_a_snapshot_and_what_follows(pair: tuple[Api, Api], kind: Kind) -> None:
    """`snapshot` first, stamped; then every event after the stamp; then heartbeats with position and head."""
    scene = Scene(pair[0])
    async with follow(kind, pair[1].url, scene.project, token=pair[1].token) as stream:
        snapshot = await stream.said("snapshot")
        assert stream.frames[0]["state"] == "snapshot"
        assert [each["kind"] for each in snapshot["resources"]] == ["task", "task", "session"]
        assert snapshot["resources"][2]["data"]["output_seq"] == 1
        assert snapshot["more"] is False
        stamp = int(snapshot["position"].partition(":")[2])
        scene.make_task("three")
        scene.say("more")
        await stream.counted(2)
        assert stream.offsets == [stamp + 1, stamp + 2]
        beat = await stream.said("heartbeat")
        assert beat["head"] == beat.get("position", beat.get("id")) == f"{scene.epoch}:{stamp + 2}"


async def test_events_have_the_same_bytes_however_they_come(pair: tuple[Api, Api]) -> None:
    """Live, replayed and polled, over both transports and from both nodes: the same bytes, output text included."""
    writer, _ = pair
    project = writer.project()
    start = writer.get(f"/v1/projects/{project}").headers["X-Position"]
    streams = [
        follow(kind, api.url, project, token=api.token, position=start) for kind in ("sse", "websocket") for api in pair
    ]
    async with streams[0] as a, streams[1] as b, streams[2] as c, streams[3] as d:
        for live in (a, b, c, d):
            await live.said("subscribed")
        task = writer.ok(writer.post(f"/v1/projects/{project}/tasks", {"title": 'é\u2028\n"<'}), 201)["id"]
        made = writer.post(f"/v1/tasks/{task}/sessions", {"phase": "plan", "model": {"name": "m"}})
        session = writer.ok(made, 201)["session"]["id"]
        for text in ("a\r\nb\u0000", "ç" * 5000):
            writer.ok(writer.post(f"/v1/sessions/{session}/output", {"chunks": [{"text": text}, {"text": text}]}), 200)
        writer.ok(
            writer.patch(f"/v1/sessions/{session}", {"status": "running", "metadata": {"x": [1, 2.5, None]}}), 200
        )
        writer.delete(f"/v1/sessions/{session}")
        for live in (a, b, c, d):
            await live.counted(6)
    for kind in ("sse", "websocket"):
        for api in pair:
            async with follow(kind, api.url, project, token=api.token, position=start) as replayed:
                await replayed.counted(6)
                assert replayed.raw == a.raw
    assert a.raw == b.raw == c.raw == d.raw
    for api in pair:
        polled = api.get(f"/v1/projects/{project}/events?position={start}", headers={"Accept": "application/json"})
        assert f'"events":[{",".join(a.raw)}]' in polled.text


async def test_resume_goes_on_after_the_position(pair: tuple[Api, Api], kind: Kind) -> None:
    """`resumed` with from and to, then exactly what came after; a too long replay is a snapshot with the reason."""
    scene = Scene(pair[0])
    position = f"{scene.epoch}:2"
    async with follow(kind, pair[1].url, scene.project, token=pair[1].token, position=position) as stream:
        await stream.counted(2)
        first = stream.frames[0]
        assert (first["state"], first["from"], first["to"]) == ("resumed", position, f"{scene.epoch}:4")
        assert stream.offsets == [3, 4]
    for _ in range(41):
        scene.say("x")
    async with follow(kind, pair[1].url, scene.project, token=pair[1].token, position=position) as stream:
        await stream.said("snapshot")
        assert (stream.frames[0]["state"], stream.frames[0]["reason"]) == ("snapshot", "replay_too_long")
        assert stream.events == []


@pytest.mark.parametrize(("make", "reason"), [("oldlife:1", "epoch"), ("{epoch}:999", "future")])
async def test_unusable_positions_are_gaps(pair: tuple[Api, Api], kind: Kind, make: str, reason: str) -> None:
    """Told why, then the state; with `never` told, then on from the head."""
    scene = Scene(pair[0])
    position = make.format(epoch=scene.epoch)
    for snapshot in ("auto", "never"):
        async with follow(
            kind, pair[1].url, scene.project, token=pair[1].token, position=position, snapshot=snapshot
        ) as stream:
            first = await stream.said("subscribed")
            assert (first["state"], first["reason"], first["from"]) == ("gap", reason, position)
            if snapshot == "auto":
                await stream.said("snapshot")
            else:
                scene.say("next")
                await stream.counted(1)
                assert "snapshot" not in stream.ops
    polled = pair[1].get(
        f"/v1/projects/{scene.project}/events?position={position}", headers={"Accept": "application/json"}
    )
    assert (polled.json()["state"], polled.json()["reason"]) == ("gap", reason)


async def test_snapshot_always_comes_also_with_a_good_position(pair: tuple[Api, Api], kind: Kind) -> None:
    """`always` gives the state whatever the position."""
    scene = Scene(pair[0])
    async with follow(
        kind, pair[1].url, scene.project, token=pair[1].token, position=f"{scene.epoch}:4", snapshot="always"
    ) as stream:
        await stream.said("snapshot")
        assert stream.frames[0]["state"] == "snapshot"


async def test_filters(pair: tuple[Api, Api], kind: Kind) -> None:
    """A task covers its sessions, a session only itself, kinds narrow, ids are a union."""
    scene = Scene(pair[0])
    start = f"{scene.epoch}:0"
    cases = [
        ({"task": [scene.task]}, [1, 3, 4]),
        ({"session": [scene.session]}, [3, 4]),
        ({"task": [scene.other], "session": [scene.session]}, [2, 3, 4]),
        ({"kinds": ["task"]}, [1, 2]),
        ({"task": [scene.task.upper()], "kinds": ["output", "task"]}, [1, 4]),
        ({"kinds": ["thread"]}, []),
    ]
    for wanted, offsets in cases:
        async with follow(
            kind, pair[1].url, scene.project, token=pair[1].token, wanted=wanted, position=start
        ) as stream:
            await stream.said("heartbeat")
            assert stream.offsets == offsets, wanted
        async with follow(kind, pair[1].url, scene.project, token=pair[1].token, wanted=wanted) as stream:
            snapshot = await stream.said("snapshot")
            kinds = {each["kind"] for each in snapshot["resources"]}
            assert kinds <= set(wanted.get("kinds", ["task", "session"]))


async def test_bad_and_foreign_filters(pair: tuple[Api, Api], kind: Kind) -> None:
    """Foreign and missing ids and projects are «not found» alike; what cannot be a filter or position is named."""
    scene, foreign = Scene(pair[0]), Scene(pair[0])
    narrow = pair[1].acting(projects=[scene.project])
    cases = [
        ({"task": [foreign.task]}, None, "not_found"),
        ({"session": [str(uuid4())]}, None, "not_found"),
        ({"thread": [str(uuid4())]}, None, "not_found"),
        ({"task": ["x"]}, None, "bad_filter"),
        ({"kinds": ["nope"]}, None, "bad_filter"),
        ({"task": [str(uuid4()) for _ in range(101)]}, None, "bad_filter"),
        ({}, "garbage", "bad_cursor"),
        ({}, f"{scene.epoch}:-1", "bad_cursor"),
        ({}, f"{scene.epoch}:01", "bad_cursor"),
        ({}, "e:" + "9" * 40, "bad_cursor"),
    ]
    for wanted, position, code in cases:
        with pytest.raises(Refused) as refused:
            async with follow(
                kind, narrow.url, scene.project, token=narrow.token, wanted=wanted, position=position
            ) as stream:
                await stream.over()
        assert refused.value.problem["code"] == code, (wanted, position)
    bodies = []
    for project in (foreign.project, f"p-{uuid4().hex[:12]}", "-", "a\u0000b"):
        with pytest.raises(Refused) as refused:
            async with follow(
                kind, narrow.url, project.replace("\u0000", "%00") if kind == "sse" else project, token=narrow.token
            ):
                pass
        bodies.append({name: value for name, value in refused.value.problem.items() if name != "request_id"})
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "not_found"


async def test_large_snapshots_are_paged_and_then_refused(pair: tuple[Api, Api], kind: Kind) -> None:
    """Pages with `more` until the stamped last; over the bound `too_large` and where to read instead; then events."""
    api = pair[0]
    project = api.project()
    for number in range(12):
        api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": f"{number}"}), 201)
    async with follow(kind, pair[1].url, project, token=pair[1].token) as stream:
        last = await stream.said("snapshot", 3)
        assert [each["more"] for each in stream.of("snapshot")] == [True, True, False]
        assert [each.get("position") for each in stream.of("snapshot")] == [None, None, last["position"]]
        assert len({each["data"]["id"] for page in stream.of("snapshot") for each in page["resources"]}) == 12
    api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": "one more"}), 201)
    async with follow(kind, pair[1].url, project, token=pair[1].token) as stream:
        page = await stream.said("snapshot")
        assert (page["too_large"], page["read"], page["more"]) == (True, [f"/v1/projects/{project}/tasks"], False)
        api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": "after"}), 201)
        await stream.counted(1)


async def test_a_poll_that_knows_the_snapshot_waits_for_a_change(pair: tuple[Api, Api]) -> None:
    """With `wait` and the snapshot's tag, an event of the other node ends the wait; without the tag nothing waits."""
    writer, reader = pair
    scene = Scene(writer)
    path = f"/v1/projects/{scene.project}/events"
    poll = {"Accept": "application/json"}
    first = reader.get(path, params={"wait": 25}, headers=poll)
    assert first.status_code == 200
    known = {**poll, "If-None-Match": first.headers["ETag"]}
    waiting = asyncio.create_task(asyncio.to_thread(reader.get, path, params={"wait": 25}, headers=known))
    unchanged = await asyncio.to_thread(reader.get, path, params={"wait": 0.2}, headers=known)
    assert unchanged.status_code == 304
    assert not waiting.done()
    scene.make_task("new")
    woken = await asyncio.wait_for(waiting, 20)
    assert woken.json()["state"] == "snapshot"
    assert len(woken.json()["resources"]) == 4


async def test_the_poll_tells_the_same(pair: tuple[Api, Api]) -> None:
    """State, ETag and 304, pages with `more`, and a wait that an event of the other node ends."""
    writer, reader = pair
    scene = Scene(writer)
    path = f"/v1/projects/{scene.project}/events"
    poll = {"Accept": "application/json"}
    first = reader.get(path, headers=poll)
    assert first.json()["state"] == "snapshot"
    assert len(first.json()["resources"]) == 3
    assert reader.get(path, headers={**poll, "If-None-Match": first.headers["ETag"]}).status_code == 304
    position = first.json()["position"]
    waiting = asyncio.create_task(
        asyncio.to_thread(reader.get, path, params={"position": position, "wait": 20}, headers=poll)
    )
    await asyncio.sleep(0)
    scene.say("wake")
    woken = await asyncio.wait_for(waiting, 15)
    assert [event["type"] for event in woken.json()["events"]] == ["session.output"]
    for _ in range(50):
        scene.say("x")
    seen: list[str] = []
    position, more = f"{scene.epoch}:0", True
    while more:
        answer = reader.get(path, params={"position": position}, headers=poll).json()
        seen += [event["position"] for event in answer["events"]]
        position, more = answer["position"], answer["more"]
    assert seen == [f"{scene.epoch}:{offset}" for offset in range(1, 56)]
    idle = reader.get(path, params={"position": position}, headers=poll)
    assert (
        reader.get(
            path, params={"position": position}, headers={**poll, "If-None-Match": idle.headers["ETag"]}
        ).status_code
        == 304
    )
