"""`client.live` against a real node: objects that are always those of now."""

import asyncio
from uuid import uuid4

import pytest

from sessioncast import Change, Client, Limits, Live, NotFound, Session, SessioncastError, Status
from sessioncast.streams.ways import TransportWish
from support.node import NodeProcess
from support.waiting import DEADLINE_S, until

QUICK = Limits(backoff_base_s=0.01, backoff_cap_s=0.1)


async def a_session(client: Client, project: str = "") -> Session:
    """A new session, in a new project if none is named."""
    project = project or f"p-{uuid4().hex}"
    await client.projects.put(project)
    return (await client.sessions.start((await client.tasks.create(project, "T")).id, "run", "m")).session


async def next_change(live: Live) -> Change:
    """The next change."""
    async with asyncio.timeout(DEADLINE_S):
        return await anext(live)


@pytest.mark.parametrize("transport", ["websocket", "sse", "poll"])
async def test_it_is_there_when_it_is_entered_and_follows(node: NodeProcess, transport: TransportWish) -> None:
    """First the whole state, then every change of it, over each transport."""
    async with Client(node.url, limits=QUICK) as client, asyncio.timeout(DEADLINE_S):
        session = await a_session(client)
        async with client.live(session.project_id, transport=transport) as live:
            assert (live.transport, list(live.sessions)) == (transport, [session.id])
            assert [task.title for task in live.tasks.values()] == ["T"]
            await client.sessions.patch(session.id, status="running")
            assert (await live.until(lambda s: s.status == "running")).version == session.version + 1
            await client.sessions.append(session.id, [("log", "a"), ("log", "b")])
            await live.until(lambda s: s.output_seq == 2, session=session.id)
            assert await client.sessions.get(session.id) == live.sessions[session.id]
            assert not live.stale


async def test_who_is_slow_is_given_one_change_for_many(node: NodeProcess) -> None:
    """From the state that was given last to that of now."""
    async with Client(node.url, limits=QUICK) as client:
        session = await a_session(client)
        async with client.live(session.project_id) as live:
            assert {(await next_change(live)).what for _ in range(2)} == {"added"}
            for number in range(20):
                await client.sessions.patch(session.id, metadata={"n": number})
            await live.until(lambda s: s.metadata.get("n") == 19)
            change = await next_change(live)
            assert isinstance(change.before, Session)
            assert isinstance(change.after, Session)
            assert (change.kind, change.before.metadata, change.after.metadata) == ("session", {}, {"n": 19})


async def test_the_last_state_of_what_leaves_is_told(node: NodeProcess) -> None:
    """To who waits for it, also when it has left before he asked, and as a change."""
    async with Client(node.url, limits=QUICK) as client:
        session = await a_session(client)
        async with client.live(session.project_id, task=session.task_id) as live, asyncio.timeout(DEADLINE_S):
            for _ in range(2):
                await anext(live)
            outcome = await client.sessions.start(
                session.task_id, "run", "m", on_conflict="restart", confirm={"session_id": session.id}
            )
            change = await next_change(live)
            assert isinstance(change.last, Session)
            assert (change.what, change.last.replaced_by) == ("removed", outcome.session.id)
            assert (await live.until(lambda s: s.deleted_at is not None, session=session.id)).status == "cancelled"
            assert list(live.sessions) == [outcome.session.id]


async def test_a_condition_that_raises_raises_where_it_is_waited_for(node: NodeProcess) -> None:
    """And nothing else suffers from it."""
    async with Client(node.url, limits=QUICK) as client:
        session = await a_session(client)
        async with client.live(session.project_id) as live, asyncio.timeout(DEADLINE_S):
            bad = asyncio.create_task(live.until(lambda s: s.status == "running" and 1 / 0 > 1))
            good = asyncio.create_task(live.until(lambda s: s.status == "running"))
            await asyncio.sleep(0)
            await client.sessions.patch(session.id, status="running")
            with pytest.raises(ZeroDivisionError):
                await bad
            assert (await good).status is Status.RUNNING


async def test_a_project_that_is_not_there_is_refused(node: NodeProcess) -> None:
    """By entering, whatever the transport, and nothing is left behind."""
    async with Client(node.url, limits=QUICK) as client:
        ways: list[TransportWish] = ["auto", "sse", "poll"]
        for transport in ways:
            with pytest.raises(NotFound):
                await client.live("nope", transport=transport).__aenter__()
        await client.projects.put("yes")
        await client.aclose()
        await until(lambda: len(asyncio.all_tasks()) == 1, "its tasks to end")


async def test_closing_ends_all_who_wait(node: NodeProcess) -> None:
    """Who iterates is at the end; who waits for a condition is told; what was seen last can be looked at."""
    async with Client(node.url, limits=QUICK) as client, asyncio.timeout(DEADLINE_S):
        session = await a_session(client)
        live = client.live(session.project_id)
        await live.__aenter__()
        for _ in range(2):
            await anext(live)
        iterating = asyncio.create_task(anext(live, None))
        waiting = asyncio.create_task(live.until(lambda s: s.status == "failed"))
        await asyncio.sleep(0)
        await live.aclose()
        assert await iterating is None
        with pytest.raises(SessioncastError):
            await waiting
        assert list(live.sessions) == [session.id]


async def test_subscriptions_share_one_connection(node: NodeProcess) -> None:
    """A hundred filters, one WebSocket; of the same filter there is one on each."""
    async with Client(node.url, limits=QUICK) as client, asyncio.timeout(DEADLINE_S):
        project = f"p-{uuid4().hex}"
        await client.projects.put(project)
        tasks = [await client.tasks.create(project, f"T{n}") for n in range(30)]
        streams = [client.subscribe(project, task=task.id, snapshot="never") for task in tasks]
        streams.append(client.subscribe(project, task=tasks[0].id, snapshot="never"))
        for stream in streams:
            await anext(stream)
        assert client.stats().transports == {"websocket": 31}
        assert client.stats().sockets == 2
        await asyncio.gather(*(client.tasks.patch(task.id, title="new") for task in tasks))
        for stream in streams:
            item = await anext(stream)
            assert getattr(item, "type", None) == "task.updated"
        for stream in streams[1:]:
            await stream.aclose()
        assert (client.stats().transports, client.stats().sockets) == ({"websocket": 1}, 1)


async def test_misuse_is_told_instead_of_waited_for(node: NodeProcess) -> None:
    """It is entered, once; a condition is a plain function; a client that is closed follows nothing any more."""

    async def condition(session: Session) -> bool:
        return bool(session)

    async with Client(node.url, limits=QUICK) as client, asyncio.timeout(DEADLINE_S):
        session = await a_session(client)
        live = client.live(session.project_id)
        with pytest.raises(RuntimeError, match="async with"):
            await anext(live)
        with pytest.raises(RuntimeError, match="async with"):
            await live.until(lambda s: True)
        async with live:
            with pytest.raises(TypeError):
                await live.until(condition)  # type: ignore[arg-type]  # the fault that is meant
            with pytest.raises(RuntimeError, match="once"):
                await live.__aenter__()
            assert list(live.sessions) == [session.id]
        with pytest.raises(RuntimeError, match="once"):
            await live.__aenter__()
    with pytest.raises(RuntimeError, match="closed"):
        client.subscribe(session.project_id)


async def test_closing_the_client_ends_its_mirrors(node: NodeProcess) -> None:
    """Whoever iterates, or waits for a condition, is not left waiting."""
    client = Client(node.url, limits=QUICK)
    session = await a_session(client)
    async with asyncio.timeout(DEADLINE_S), client.live(session.project_id) as live:
        for _ in range(2):
            await anext(live)
        iterating = asyncio.create_task(anext(live, None))
        waiting = asyncio.create_task(live.until(lambda s: s.status == "failed"))
        await asyncio.sleep(0)
        await client.aclose()
        assert await iterating is None
        with pytest.raises(SessioncastError):
            await waiting
