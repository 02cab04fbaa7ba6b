"""One node on its SQLite file: killed in the middle of its work, and put back to an older state of the file."""

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2

from support.cluster import PROJECT, assert_same_story, readers
from support.follower import SseFollower, WebSocketFollower
from support.node import NodeFactory
from support.waiting import until
from support.writer import Writer

_KILLS = 3


async def _titles(url: str) -> list[str]:
    """Titles of all tasks of the project."""
    found: list[str] = []
    async with httpx2.AsyncClient(base_url=url) as http:
        after: str | None = ""
        while after is not None:
            query = {"limit": "200", **({"after": after} if after else {})}
            page = (await http.get(f"/v1/projects/{PROJECT}/tasks", params=query)).json()
            found += [task["title"] for task in page["data"]]
            after = page["next"]
    return found


async def _log_of(url: str, position: str) -> list[tuple[str, str]]:
    """Position and title of everything in the log after a position."""
    found: list[tuple[str, str]] = []
    more = True
    async with httpx2.AsyncClient(base_url=url, headers={"Accept": "application/json"}) as http:
        while more:
            query = {"position": position, "snapshot": "never"}
            page = (await http.get(f"/v1/projects/{PROJECT}/events", params=query)).json()
            found += [(event["position"], event["data"]["title"]) for event in page["events"]]
            position, more = page["position"], page["more"]
    return found


async def test_what_was_acknowledged_outlives_a_kill(node_factory: NodeFactory) -> None:
    """Killed again and again amid writes: no acknowledged change is missing, offsets have no hole, readers go on."""
    node = await node_factory(env={"SESSIONCAST_REPLAY_MAX_EVENTS": "100000"})
    writers = [Writer(node.url, PROJECT, pause_s=0) for _ in range(4)]
    await writers[0].put_project()
    async with AsyncExitStack() as stack:
        followers = await readers(stack, node)
        for writer in writers:
            await stack.enter_async_context(writer)
        for _ in range(_KILLS):
            for writer in writers:
                await writer.more(15)
            node.kill()
            await node.start()
            await writers[0].more(1)
            for follower in followers:  # each has come back before the next kill
                await follower.reach(writers[0].last.position)
        for writer in writers:
            await writer.more(5)
            await writer.stop()
        acknowledged = [change for writer in writers for change in writer.acknowledged]
        epoch = acknowledged[0].position.partition(":")[0]
        log = await _log_of(node.url, f"{epoch}:0")
        assert [position for position, _ in log] == [f"{epoch}:{number}" for number in range(1, len(log) + 1)]
        assert set(log) >= {(change.position, change.title) for change in acknowledged}
        titles = await _titles(node.url)
        assert sorted(titles) == sorted(title for _, title in log)
        for follower in followers:
            await follower.reach(log[-1][0])
        for writer in writers:
            assert_same_story(followers, writer, first=1)
        for follower in followers:
            assert set(follower.told) <= {("ready", "snapshot"), ("ready", "resumed")}
            assert follower.told.count(("ready", "resumed")) >= _KILLS


async def test_an_older_file_put_back_is_another_log(node_factory: NodeFactory, tmp_path: Path) -> None:
    """The file alone is replaced by an older copy: new epochs at the start, and whoever resumes is told of the gap."""
    node = await node_factory()
    writer = Writer(node.url, PROJECT)
    await writer.put_project()
    for _ in range(5):
        await writer.change()
    assert await node.stop() == 0
    data = tmp_path / "data"
    shutil.copy(data / "sessioncast.db", tmp_path / "older")
    await node.start()
    async with (
        SseFollower("SSE", node.url, PROJECT) as sse,
        WebSocketFollower("WebSocket", node.url, PROJECT) as socket,
    ):
        followers = (sse, socket)
        for follower in followers:
            await follower.opened()
        for _ in range(3):
            await writer.change()
        for follower in followers:
            await follower.reach(writer.last.position)
        old = writer.last.position.partition(":")[0]
        assert await node.stop() == 0
        for name in ("sessioncast.db-wal", "sessioncast.db-shm"):
            (data / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "older", data / "sessioncast.db")
        await node.start()
        for follower in followers:
            await follower.hears("ready", "gap")
        while not await writer.change():
            pass
        new, _, offset = writer.last.position.partition(":")
        assert (new != old, offset) == (True, "6")
        for follower in followers:
            await follower.reach(writer.last.position)
            assert follower.told[0] == ("ready", "snapshot")
            assert ("goodbye", "draining") in follower.told
    assert "older than what was committed" in node.log()
    await writer.close()


async def test_a_file_that_did_not_go_back_keeps_its_epoch(node_factory: NodeFactory) -> None:
    """Stopped and started, the log's life goes on and readers resume."""
    node = await node_factory()
    writer = Writer(node.url, PROJECT)
    await writer.put_project()
    await writer.change()
    async with SseFollower("reader", node.url, PROJECT) as follower:
        await follower.opened()
        for _ in range(2):
            await node.restart()
            await until(lambda: follower.told[-1] == ("ready", "resumed"), "to be resumed")
            while not await writer.change():
                pass
            await follower.reach(writer.last.position)
    assert follower.offsets == [2, 3]
    await writer.close()
