"""The plan by which the data that a client shows is validated, scenario by scenario."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from sessioncast import Change, Client, Live, Session
from sessioncast_server.db.migrate import migrate
from support.badproxy import BadProxy
from support.mirrored import SOON, Watched, Works, watched
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import DEADLINE_S, STALL_S, until

TRANSPORTS = ["websocket", "sse", "poll"]
SLOW = replace(SOON, idle_s=STALL_S, attempt_s=2 * STALL_S, connect_s=2 * STALL_S, first_frame_s=2 * STALL_S)
POLL_S = 2.0
"""The pace of polls while something is at work."""


@dataclass(frozen=True)
class Server:
    """A node, and the file that is its database."""

    node: NodeProcess
    file: Path

    def write(self, statement: str, *values: object) -> None:
        """What somebody does who goes to the database directly."""
        with sqlite3.connect(self.file, timeout=DEADLINE_S) as database:
            assert database.execute(statement, values).rowcount == 1
        database.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node on a file of its own."""
    folder = tmp_path_factory.mktemp("node")
    url = f"sqlite:///{folder}/x.db"
    migrate(url)
    env = {
        "SESSIONCAST_DATABASE_URL": url,
        "SESSIONCAST_HEARTBEAT_S": "0.5",
        "SESSIONCAST_CLIENT_REPORTS_PER_MINUTE": "10000",
    }
    with NodeProcess(folder, port=free_port(), env=env, arguments=()) as node:
        yield Server(node, folder / "x.db")


@pytest.fixture
async def works(server: Server) -> AsyncIterator[Works]:
    """Somebody who works in a project of this test."""
    async with Client(server.node.url) as client:
        project = f"p-{uuid4().hex[:12]}"
        await client.projects.put(project)
        yield Works(client, project)


async def session_of(works: Works) -> Session:
    """A session that runs."""
    task = await works.client.tasks.create(works.project, "T")
    session = (await works.client.sessions.start(task.id, "run", "m")).session
    return await works.client.sessions.patch(session.id, status="running")


async def changed(live: Live, session: str, so: Callable[[Change], bool]) -> Change:
    """The change of a session that is looked for, as a page is told of it."""
    async with asyncio.timeout(2 * DEADLINE_S):
        async for change in live:
            if change.kind == "session" and change.id == session and so(change):
                return change
    raise AssertionError("the mirror ended")


def to(status: str) -> Callable[[Change], bool]:
    """Whether a session has got that status."""
    return lambda change: isinstance(change.after, Session) and change.after.status == status


def reported(server: Server, session: str) -> bool:
    """Whether the server's log has a client's report of a mismatch in this session."""
    lines = [line for line in server.node.log.read_text().splitlines() if "client report" in line]
    return any("mismatch" in line and session in line for line in lines)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_1_normal_operation(server: Server, works: Works, transport: str) -> None:
    """What changes is shown by what comes next: of polls, after no more than two of them."""
    session = await session_of(works)
    async with watched(server.node.url, works.project, transport=transport) as seen:
        polls = seen.client.stats().polls
        await works.client.sessions.patch(session.id, status="waiting", metadata={"n": 1})
        await changed(seen.live, session.id, to("waiting"))
        assert seen.live.sessions[session.id] == await works.client.sessions.get(session.id)
        if transport == "poll":  # two at most, of each of the two that watch
            assert seen.client.stats().polls - polls <= 4
            assert set(seen.client.stats().poll_intervals) <= {POLL_S}
        await works.told(seen)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_2_slow_network(server: Server, works: Works, transport: str) -> None:
    """On a line with two seconds of delay, then a dead one, the last state is shown in the end, and the delay told."""
    session = await session_of(works)
    async with (
        BadProxy(server.node.port) as proxy,
        watched(proxy.url, works.project, transport=transport, limits=SLOW) as seen,
    ):
        proxy.delay_s = 2.0
        for number in range(5):
            await works.client.sessions.patch(session.id, metadata={"n": number})
        await works.same(seen.live)
        assert seen.live.sessions[session.id].metadata == {"n": 4}
        proxy.freeze()
        await works.client.sessions.patch(session.id, metadata={"n": "late"})
        await until(lambda: seen.live.stale, "the user to be told")
        proxy.thaw()
        proxy.delay_s = 0.0
        await works.told(seen)
        assert not seen.live.stale


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_3_concurrent_updates(server: Server, works: Works, transport: str) -> None:
    """Two users and a background process write to one session at once: no update is lost, and all see the same."""
    session = await session_of(works)
    async with (
        Client(server.node.url, user="ann") as ann,
        Client(server.node.url, user="bob") as bob,
        watched(server.node.url, works.project, transport=transport) as seen,
        watched(server.node.url, works.project) as other,
    ):

        async def edit(client: Client, name: str) -> None:
            for number in range(5):
                await client.sessions.patch(session.id, metadata={f"{name}{number}": number})

        async def background() -> None:
            for _ in range(5):
                await works.client.sessions.append(session.id, [("log", "line")])

        await asyncio.gather(edit(ann, "ann"), edit(bob, "bob"), background())
        for one in (seen, other):
            await works.told(one)
        shown = seen.live.sessions[session.id]
        assert shown.metadata == {f"{name}{number}": number for name in ("ann", "bob") for number in range(5)}
        assert (shown.output_seq, shown) == (5, other.live.sessions[session.id])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_4_background_updates(server: Server, works: Works, transport: str) -> None:
    """What a process in the background does to a session is shown without anybody's asking, to its end."""
    session = await session_of(works)
    async with watched(server.node.url, works.project, transport=transport) as seen:
        await works.client.sessions.append(session.id, [("log", "at work")])
        await works.client.sessions.patch(session.id, status="completed")
        async with asyncio.timeout(DEADLINE_S):
            done = await seen.live.until(lambda one: one.status == "completed", session=session.id)
        assert (done.active, done.output_seq) == (False, 1)
        await works.told(seen)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("versioned", [True, False])
async def test_5_written_to_the_database(server: Server, works: Works, transport: str, versioned: bool) -> None:
    """A change by SQL, which no event tells of, is found by the full check, shown, and reported to the server."""
    session = await session_of(works)
    async with watched(server.node.url, works.project, transport=transport, check_s=0.3) as seen:
        await _checked(seen)
        rise = ", version = version + 1" if versioned else ""
        server.write(f"UPDATE session SET status = 'waiting'{rise} WHERE id = ?", session.id)
        await changed(seen.live, session.id, to("waiting"))
        assert seen.live.sessions[session.id] == await works.client.sessions.get(session.id)
        await works.told(seen)
        assert seen.client.stats().mismatches == seen.client.stats().reports == 1
        await until(lambda: reported(server, session.id), "the report in the server's log")


async def test_5_another_process(server: Server, works: Works) -> None:
    """What a mutation of one client changes, the cache of another's mirror shows; what is deleted by SQL goes."""
    session = await session_of(works)
    async with watched(server.node.url, works.project, check_s=0.3) as seen:
        await _checked(seen)
        server.write(
            "UPDATE session SET deleted_at = updated_at, slot = NULL, version = version + 1 WHERE id = ?", session.id
        )
        await changed(seen.live, session.id, lambda change: change.after is None)
        await works.told(seen)
        assert session.id not in seen.live.sessions


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("older", [True, False])
async def test_6_stale_data(server: Server, works: Works, transport: str, older: bool) -> None:
    """Old data put into the mirror by hand is detected, put right and reported; so is a resource taken out of it."""
    session = await session_of(works)
    async with watched(server.node.url, works.project, transport=transport, check_s=0.3) as seen:
        await _checked(seen)
        held = seen.live._mirror.state.sessions._held  # the only way to what nobody may write to
        held[session.id] = session.model_copy(
            update={"status": "failed", "version": session.version - 1 if older else session.version}
        )
        assert seen.live.sessions[session.id].status == "failed"
        await changed(seen.live, session.id, lambda change: change.before is not None and to("running")(change))
        await works.same(seen.live)
        del held[session.id]
        await changed(seen.live, session.id, lambda change: change.before is None)
        await works.told(seen)
        assert seen.client.stats().mismatches == 2
        await until(lambda: reported(server, session.id), "the report in the server's log")


async def test_6_asked_for(server: Server, works: Works) -> None:
    """The refresh that a user asks for looks at everything, however lately it was looked at."""
    session = await session_of(works)
    async with watched(server.node.url, works.project) as seen:
        assert await seen.live.refresh() == []
        server.write("UPDATE session SET status = 'waiting' WHERE id = ?", session.id)
        (change,) = await seen.live.refresh()
        assert change.id == session.id
        assert seen.live.sessions[session.id].status == "waiting"


async def _checked(seen: Watched) -> None:
    """Return when a full check has found all right."""
    checks = seen.client.stats().checks
    await until(lambda: seen.client.stats().checks > checks + 1, "full checks")
    assert not seen.client.stats().mismatches
