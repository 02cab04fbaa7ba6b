"""The parts that users test with."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sessioncast import (
    Client,
    ConnectionLost,
    Event,
    Limits,
    NotFound,
    Project,
    ProviderSession,
    ProviderState,
    StreamState,
    Unauthenticated,
    Unavailable,
)
from sessioncast.streams.items import Opened, Resync, Snapshot
from sessioncast.testing import Asked, MemoryBackend, Reply, Server, ServerError
from sessioncast_shared.threads import Message, Thread
from support import processes
from support.cachemodel import AT, session, task
from support.waiting import until, wait_until

SECRET = "a secret of at least thirty-two bytes"
QUICK = Limits(deadline_s=20.0, backoff_base_s=0.001, backoff_cap_s=0.01)


async def test_a_server_is_there_and_back_with_what_it_had() -> None:
    """It asks for tokens, which it makes itself; its address and its data outlive it, its folder does not."""
    async with Server(secret=SECRET, settings={"SESSIONCAST_HEARTBEAT_S": "1"}) as server:
        url, pid = server.url, server.pid
        async with Client(url, server.token("ann", ["p"]), limits=QUICK) as client:
            await client.projects.put("p")
            server.restart()
            server.start()  # it runs
            assert (server.url, server.running) == (url, True)
            assert not processes.alive(pid)
            assert (await client.projects.get("p")).id == "p"
            with pytest.raises(NotFound):
                await client.projects.get("other")
        async with Client(url, limits=QUICK) as client:
            with pytest.raises(Unauthenticated):
                await client.projects.get("p")
        assert "ready" in server.log
        server.kill()
        assert not server.running
        with pytest.raises(RuntimeError, match="does not run"):
            _ = server.pid
    assert (server.running, server.log) == (False, "")


def test_an_open_server_takes_no_tokens() -> None:
    """There is nothing to sign them with."""
    with pytest.raises(RuntimeError, match="open"):
        Server().token()


def test_a_server_that_does_not_start_says_why() -> None:
    """With what it printed; nothing of it is left."""
    server = Server(settings={"SESSIONCAST_RING_EVENTS": "nonsense"})
    with pytest.raises(ServerError, match="RING_EVENTS=nonsense"), server:
        pass
    assert not server.running


_ORPHAN = """
import sys, time
from sessioncast.testing import Server
server = Server()
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def test_a_server_does_not_outlive_its_test() -> None:
    """Also when that is killed."""
    with subprocess.Popen([sys.executable, "-c", _ORPHAN], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        program.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes.alive(pid), "the server to end")


_CONFTEST = "from sessioncast.testing import sessioncast_server\n"
_TEST = """
import sessioncast

def test_one(sessioncast_server):
    with sessioncast.SyncClient(sessioncast_server.url) as client:
        assert client.projects.put("p").id == "p"
"""


def test_the_fixture_is_one_line(tmp_path: Path) -> None:
    """In a `conftest.py`."""
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text(_TEST)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    plain["SESSIONCAST_JWT_SECRET"] = SECRET  # the server of a test is not set by whoever runs it
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", "."]
    done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=90, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


async def test_a_double_answers_what_it_was_told_to() -> None:
    """By a document, a reply, an exception or a function, async or not; what it was asked is kept."""
    backend = MemoryBackend()
    project = {"id": "p", "created_at": "2026-01-01T00:00:00Z"}

    async def late(asked: Asked) -> Reply:
        return Reply({"id": asked.path.rpartition("/")[2], "created_at": "2026-01-01T00:00:00Z"})

    async with Client(backend=backend, limits=Limits(deadline_s=0.01)) as client:
        for scripted in (project, Reply(project), late, lambda _: project):
            backend.answer("PUT", "/v1/projects/p", scripted)
            assert (await client.projects.put("p")).id == "p"
        backend.answer("PUT", "/v1/projects/p", ConnectionLost("x", "away"))
        with pytest.raises(ConnectionLost, match="away"):
            await client.projects.put("p")
        with pytest.raises(NotFound, match="nobody said what PUT /v1/projects/q answers"):
            await client.projects.put("q")
    assert [asked.path for asked in backend.asked][:4] == ["/v1/projects/p"] * 4


async def test_a_double_breaks_falls_silent_and_refuses() -> None:
    """As a server would, and whoever subscribed heals, or is told."""
    limits = Limits(backoff_base_s=0.001, backoff_cap_s=0.01)
    backend, states = MemoryBackend(limits=limits, transport="sse"), list[StreamState]()
    backend.put(session("0b9d3c8e-0000-4000-8000-000000000001"))
    async with (
        Client(backend=backend) as client,
        client.subscribe("p", on_state=states.append) as stream,
    ):
        kinds = [type(await anext(stream)) for _ in range(2)]
        assert (kinds, stream.transport) == ([Opened, Snapshot], "sse")
        backend.gap("expired")
        opened = await anext(stream)
        assert isinstance(opened, Opened)
        assert (opened.state, opened.reason) == ("gap", "expired")
        assert isinstance(await anext(stream), Snapshot)
        backend.resync()
        assert [type(await anext(stream)) for _ in range(2)] == [Resync, Snapshot]
        assert client.stats().gaps == client.stats().resyncs == 1
        backend.cut()
        opened = await anext(stream)
        assert isinstance(opened, Opened)
        assert opened.state == "resumed"
        backend.refuse(403, "forbidden")
        backend.cut()
        with pytest.raises(Exception, match="forbidden"):
            await anext(stream)
        backend.refuse(503, "unavailable", retryable=False)
        with pytest.raises(Unavailable):
            await client.sessions.get("x")
        backend.accept()
        with pytest.raises(NotFound):
            await client.sessions.get("x")
    assert StreamState.WAITING in states


async def test_silence_is_noticed() -> None:
    """After `Limits.idle_s` it is stale, reported, and healed; without silence there are heartbeats."""
    limits = Limits(idle_s=0.1, backoff_base_s=0.001, backoff_cap_s=0.01)
    backend, states = MemoryBackend(limits=limits), list[StreamState]()
    async with Client(backend=backend) as client, client.subscribe(
        "p", on_state=states.append
    ) as stream:  # fmt: skip
        await anext(stream), await anext(stream)
        backend.silence()
        opened = await anext(stream)
        assert isinstance(opened, Opened)
        assert opened.state == "resumed"
        assert StreamState.STALE in states
        assert client.stats().stale_times >= 1
        await until(lambda: any(asked.path == "/v1/client-reports" for asked in backend.asked), "a report")


async def test_a_double_keeps_threads() -> None:
    """With their messages, for who follows one; a message of none is refused."""
    backend, id_ = MemoryBackend(), "0b9d3c8e-0000-4000-8000-000000000002"
    times = dict.fromkeys(("created_at", "last_activity_at", "expires_at"), AT)
    plain = {"id": id_, "project_id": "p", "user": "u", "version": 1, "message_seq": 0, "message_count": 0}
    thread = Thread.model_validate({**plain, **times})
    message = Message(id="m", thread_id=id_, user="u", seq=1, role="user", content="hello", created_at=AT)
    with pytest.raises(KeyError, match="belongs"):
        backend.put(message)
    backend.put(thread)
    async with Client(backend=backend) as client, client.live("p", thread=id_) as live:
        backend.put(message)
        while (await anext(live)).kind != "message":
            pass
        assert [one.content for one in live.messages(id_)] == ["hello"]


async def test_a_double_keeps_chains_and_debug_sessions() -> None:
    """Heads of chains in its snapshots, sessions by phase in its tasks, what is deleted in none; all told as events."""
    backend, id_ = MemoryBackend(), "0b9d3c8e-0000-4000-8000-000000000003"
    times = dict.fromkeys(("started_at", "last_used_at"), AT)
    plain = {"id": "u", "provider_session_id": "x", "session_id": id_, "task_id": "t", "operation": "iteration"}
    more = {"is_resumable": True, "resume_failure_count": 0, "fence": 1, "state": "open"}
    use = ProviderSession.model_validate({**plain, **more, **times})
    with pytest.raises(KeyError, match="belongs"):
        backend.put(use)
    backend.put(task({}), session(id_, head_provider_session_id="x"), session("d", debug=True), use)
    async with Client(backend=backend) as client:
        async with client.live("p") as live:
            assert list(live.provider_sessions) == ["u"]
            backend.put(use.model_copy(update={"operation": "update"}))
            backend.put(use.model_copy(update={"ended_at": AT, "state": ProviderState.ENDED}))
            backend.put(task({}, 2, title="new"))
            while live.tasks["t"].title != "new":
                await anext(live)
            assert live.provider_sessions["u"].ended_at == AT
        assert set((await client.tasks.get("t")).sessions) == {"verify", "verify.debug"}
        assert [one.id for one in await client.sessions.list("t", debug=True)] == ["d"]
        backend.put(session("d", 2, debug=True, deleted_at=AT, replaced_by=id_))
        assert set((await client.tasks.get("t")).sessions) == {"verify"}
        with pytest.raises(NotFound):
            await client.tasks.get("other")
        async with client.subscribe("p", position=f"{backend.channel('p').position}9") as stream:
            opened = await anext(stream)
        assert isinstance(opened, Opened)
        assert (opened.state, opened.reason) == ("gap", "ahead")
    with pytest.raises(TypeError, match="Project"):
        backend.channel("p").put(Project(id="p", created_at=AT))  # type: ignore[arg-type]  # that is what is tested


async def test_events_of_newer_servers_can_be_scripted() -> None:
    """Types that this client does not know come through, by what stands before their dot."""
    backend = MemoryBackend()
    async with Client(backend=backend) as client, client.subscribe("p", kinds=["task"]) as stream:
        await anext(stream), await anext(stream)
        backend.emit("flight.landed", {}, project="p")
        backend.emit("task.polished", {"shine": 1}, project="p", task_id="t")
        event = await anext(stream)
        assert isinstance(event, Event)
        assert event.type == "task.polished"
