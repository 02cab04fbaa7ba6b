"""The client without async: the same calls, the same objects, the same exceptions."""

import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from sessioncast import (
    Client,
    Event,
    ModelChangeRequiresConfirmation,
    NotFound,
    Opened,
    ProviderState,
    ResumeFailed,
    ResumeWaits,
    Snapshot,
    SyncClient,
)
from support.node import NodeProcess
from support.providing import Agent, closed, given, newest_id, rows, said, script
from support.waiting import DEADLINE_S

SOON = ResumeWaits(first_s=0.01, longest_s=0.02, jitter_s=0.0)


@pytest.fixture
def client(node: NodeProcess) -> Iterator[SyncClient]:
    """A client of it."""
    with SyncClient(node.url) as client:
        yield client


def a_session(client: SyncClient) -> Any:
    """A new session in a new project."""
    project = f"p-{uuid4().hex}"
    client.projects.put(project)
    return client.sessions.start(client.tasks.create(project, "T").id, "run", "m").session


def test_requests_return_when_they_are_answered(client: SyncClient) -> None:
    """Resources are the async client's own, its exceptions are raised, its generators are iterated."""
    session = a_session(client)
    client.sessions.append(session.id, [("log", "a"), ("log", "b")])
    assert [chunk.text for chunk in client.sessions.read_output(session.id)] == ["a", "b"]
    assert client.sessions.get(session.id).id == session.id
    with pytest.raises(NotFound):
        client.projects.get("nope")


def test_a_subscription_is_an_iterator(client: SyncClient) -> None:
    """Items come one by one, in a `with` or without."""
    session = a_session(client)
    with client.subscribe(session.project_id) as stream:
        opened, snapshot = next(stream), next(stream)
        assert isinstance(opened, Opened)
        assert isinstance(snapshot, Snapshot)
        assert [found.id for found in snapshot.sessions] == [session.id]
        client.sessions.patch(session.id, status="running")
        for event in stream:
            assert isinstance(event, Event)
            assert event.type == "session.updated"
            break


def test_a_refusal_can_be_confirmed_where_it_is_caught(client: SyncClient) -> None:
    """What an exception can do blocks, too."""
    session = a_session(client)
    with pytest.raises(ModelChangeRequiresConfirmation) as caught:
        client.sessions.start(session.task_id, "run", "other")
    refusal: Any = caught.value
    assert refusal.export()["session"]["id"] == session.id
    assert refusal.confirm().outcome == "replaced"


def test_a_refusal_from_within_a_run_can_be_confirmed_too(client: SyncClient) -> None:
    """It passed through two calls on its way, and still does what it did."""
    session, other = a_session(client), a_session(client)

    def run(_: object) -> None:
        client.sessions.start(other.task_id, "run", "other")

    with pytest.raises(ModelChangeRequiresConfirmation) as caught, client.resumable(session) as attempt:
        attempt.run(run)
    refusal: Any = caught.value
    assert refusal.confirm().replaced.id == other.id


def test_an_awaitable_that_came_in_an_answer_can_be_waited_for(client: SyncClient) -> None:
    """`wait` is for what is async inside a plain value."""
    session = a_session(client)

    async def answer() -> str:
        return str(session.id)

    assert client.wait(answer()) == session.id


def test_an_iteration_is_a_with_block(client: SyncClient, node: NodeProcess) -> None:
    """Recorded at once, ended afterwards; an exception of the body is raised and ends it as failed."""
    session, agent, new = a_session(client), Agent(), given("A")
    with client.iteration(session, agent=agent) as it:
        it.record(provider_session_id=new, tokens=5)
        assert agent.session_id == it.provider_session_id == new
        assert client.providers.chain(session).head.provider_session_id == new

    def work() -> None:
        with client.iteration(session, agent=agent):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert agent.session_id == "its own"
    assert [(row.state, row.is_resumable) for row in client.providers.chain(session).data] == [
        (ProviderState.ENDED, True),
        (ProviderState.ENDED, False),
    ]


def test_the_whole_dance(client: SyncClient) -> None:
    """A locked id is tried again and a lost one begun afresh, by a function that runs in the thread that asked."""
    session = a_session(client)
    a, b, c = given("A"), given("B"), given("C")
    threads: list[int] = []
    asked: list[str | None] = []

    def provider(*failures: str, new: str) -> Any:
        left = list(failures)

        def run(use: Any) -> str:
            threads.append(threading.get_ident())
            asked.append(use.resume_id)
            if left:
                raise ResumeFailed(left.pop())
            use.record(provider_session_id=new, cost_usd=0.5)
            return new

        return run

    for fails, new in (((), a), (("locked",), b), (("not_found",), c)):
        with client.resumable(session, waits=SOON) as attempt:
            assert attempt.run(provider(*fails, new=new)) == new
            assert attempt.succeeded
    assert asked == [None, a, a, b, None]
    assert set(threads) == {threading.get_ident()}
    assert client.providers.chain(session).head.provider_session_id == c


def test_exceptions_of_a_function_are_its_callers(client: SyncClient) -> None:
    """What it raises comes out of `run` and of the block, and the turn is given back."""
    session = a_session(client)

    def work() -> None:
        with client.resumable(session) as attempt:
            attempt.run(lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        work()
    with client.resumable(session, wait_s=0) as attempt:
        assert attempt.decision.provider_session_id is None


def test_threads_share_a_client(client: SyncClient) -> None:
    """Eight threads with updates of one session: each in its turn, each in its own thread."""
    session = a_session(client)

    def update(number: int) -> bool:
        new = given(str(number))
        here = threading.get_ident()

        def run(use: Any) -> bool:
            use.record(provider_session_id=new)
            return threading.get_ident() == here

        with client.resumable(session, wait_s=30) as attempt:
            return bool(attempt.run(run))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(update, range(8)))
    found = client.providers.chain(session).data
    assert [row.resumed_from for row in found[1:]] == [row.provider_session_id for row in found[:-1]]


def test_an_async_function_is_welcome_too(client: SyncClient) -> None:
    """It runs on the loop, where the same use is awaited."""
    session, new = a_session(client), given("A")

    async def run(use: Any) -> None:
        await use.record(provider_session_id=new)

    with client.resumable(session) as attempt:
        attempt.run(run)
    assert client.providers.chain(session).head.provider_session_id == new


INTERRUPTED = """
import sys, time
import sessioncast

def run(use):
    use.record(provider_session_id=sys.argv[3])
    print("running", flush=True)
    time.sleep(60)

try:
    with sessioncast.SyncClient(sys.argv[1]) as client, client.resumable(sys.argv[2]) as attempt:
        attempt.run(run)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

WAITING = """
import sys
import sessioncast

try:
    with sessioncast.SyncClient(sys.argv[1]) as client:
        print("waiting", flush=True)
        with client.resumable(sys.argv[2], wait_s=60):
            print("entered", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


async def test_ctrl_c_in_a_run_ends_it(node: NodeProcess) -> None:
    """The program stops, and leaves an ended row with the id it recorded."""
    async with Client(node.url) as client:
        project = f"p-{uuid4().hex}"
        await client.projects.put(project)
        session = (await client.sessions.start((await client.tasks.create(project, "T")).id, "run", "m")).session
        new = given("A")
        async with script(INTERRUPTED, node.url, session.id, new) as program:
            await said(program, "running")
            program.send_signal(signal.SIGINT)
            await said(program, "interrupted")
            assert await program.wait() == 0
        (row,) = await closed(client, session, 0)
        assert (row.state, row.is_resumable) == (ProviderState.ENDED, True)
        assert await newest_id(client, session) == new


async def test_ctrl_c_ends_the_wait_for_a_turn(node: NodeProcess) -> None:
    """The program stops at once, nothing of it is open, and the turn goes to the next one."""
    async with Client(node.url) as client:
        project = f"p-{uuid4().hex}"
        await client.projects.put(project)
        session = (await client.sessions.start((await client.tasks.create(project, "T")).id, "run", "m")).session
        async with client.resumable(session), script(WAITING, node.url, session.id) as program:
            await said(program, "waiting")
            program.send_signal(signal.SIGINT)
            await said(program, "interrupted")
            assert await program.wait() == 0
        assert [row.state for row in await rows(client, session)] == [ProviderState.ENDED]
        async with client.resumable(session, wait_s=30):
            pass


def test_it_is_used_by_with(node: NodeProcess) -> None:
    """Before and after there is nothing to ask, and inside there is not a second way in."""
    client = SyncClient(node.url)
    with pytest.raises(RuntimeError, match="with"):
        client.projects.put("p")
    with pytest.raises(RuntimeError, match="with"):
        client.wait(None)  # type: ignore[arg-type]  # it does not come to that
    with client:
        assert client.projects.put("p").id == "p"
        with pytest.raises(RuntimeError, match="open already"):
            client.__enter__()
    with pytest.raises(RuntimeError, match="with"):
        client.projects.put("p")
    with client:
        assert client.projects.get("p").id == "p"


def test_nothing_of_it_is_left(node: NodeProcess) -> None:
    """Its thread ends with the block, also when the block raises."""
    before = threading.active_count()

    def work() -> None:
        with SyncClient(node.url) as client:
            client.projects.put("p")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert threading.active_count() == before


def test_views_tell_what_they_show(client: SyncClient) -> None:
    """Names and docstrings are the object's own; what is not async about it is passed on."""
    assert "put" in dir(client.projects)
    assert inspect.getdoc(client.projects.put) == inspect.getdoc(client.projects._target.put)
    assert repr(client.projects).startswith("<blocking ")
    with pytest.raises(AttributeError):
        _ = client.projects.nonsense
    with pytest.raises(AttributeError):
        client.projects.__enter__()


async def test_the_loops_own_thread_is_not_blocked(client: SyncClient) -> None:
    """A blocking call on the client's own loop is refused instead of waiting for ever."""

    async def deadlock() -> None:
        client._on.do(lambda: None)  # type: ignore[union-attr]  # it is open

    with pytest.raises(RuntimeError, match="wait for itself"):
        client.wait(deadlock())


_FORKS = """
import os, sys
from sessioncast import SyncClient

with SyncClient(sys.argv[1]) as client:
    child = os.fork()
    if child == 0:
        try:
            client.projects.put("p")
        except RuntimeError as error:
            os._exit(7 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    client.projects.put("forked")
"""


def test_a_forked_process_is_told_that_it_needs_a_client_of_its_own(node: NodeProcess) -> None:
    """It has no thread that would answer; the parent's client goes on."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKS, node.url], check=True, timeout=DEADLINE_S)
