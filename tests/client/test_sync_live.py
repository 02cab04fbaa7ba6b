"""Subscriptions, mirrors and cached reads without async."""

import inspect
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator

import pytest

from sessioncast import Change, Event, Limits, Live, NotFound, Opened, Snapshot, Subscription, SyncClient
from sessioncast.cached import CachedReads
from sessioncast.syncviews import SyncCached, SyncLive, SyncSubscription
from sessioncast.testing import MemoryBackend
from sessioncast_server.auth.tokens import make_token
from support.api import SECRET
from support.cachemodel import session, task
from support.node import NodeProcess
from support.ports import free_port
from support.waiting import wait_until

LIMITS = Limits(deadline_s=20.0, backoff_base_s=0.001, backoff_cap_s=0.01)


@pytest.fixture
def backend() -> MemoryBackend:
    """A double with a task and a session of it."""
    backend = MemoryBackend(limits=LIMITS)
    backend.put(task({}), session("a"))
    return backend


@pytest.fixture
def client(backend: MemoryBackend) -> Iterator[SyncClient]:
    """A client of it."""
    with SyncClient(backend=backend) as client:
        yield client


def test_a_subscription_is_a_loop(backend: MemoryBackend, client: SyncClient) -> None:
    """`with` it, `for` over it; its properties are plain values, and it is closed with its block."""
    with client.subscribe("p") as stream:
        assert isinstance(next(stream), Opened)
        for item in stream:
            if isinstance(item, Snapshot):
                backend.put(session("a", 2))
            if isinstance(item, Event):
                assert item.version is None or item.version == 2
                break
        assert (str(stream.state), stream.transport, stream.last_error) == ("open", "websocket", None)
        assert stream.position is not None
        assert client.stats().transports == {"websocket": 1}
    assert (str(stream.state), list(stream)) == ("closed", [])


def test_a_subscription_is_closed_from_another_thread(client: SyncClient) -> None:
    """Who waits for its next item is at the end of it."""
    with client.subscribe("p") as stream:
        read: list[object] = []
        reader = threading.Thread(target=lambda: read.extend(stream))
        reader.start()
        wait_until(lambda: len(read) == 2, "the beginning")
        stream.aclose()
        reader.join(10)
        assert not reader.is_alive()


def test_a_mirror_is_looked_at(backend: MemoryBackend, client: SyncClient) -> None:
    """Its objects are those of now, `until` waits, `for` gives what became of them."""
    with client.live("p") as live:
        assert (list(live.tasks), list(live.sessions), live.threads) == (["t"], ["a"], [])
        backend.put(session("a", 2, status="idle"))
        assert live.until(lambda one: one.status == "idle", session="a").version == 2
        changes: list[Change] = []
        for change in live:
            changes.append(change)
            if change.kind == "session":
                break
        assert [change.what for change in changes] == ["added", "added"]
        assert (live.stale, live.last_error, live.refresh()) == (False, None, [])
        assert live.heard_at is not None


def test_a_mirror_stands_still_while_it_is_read(backend: MemoryBackend, client: SyncClient) -> None:
    """What it shows is as it was asked for, though the loop's thread goes on."""
    with client.live("p") as live:
        shown = live.sessions
        backend.put(session("b"))
        live.until(lambda one: one.id == "b")
        assert (list(shown), list(live.sessions)) == (["a"], ["a", "b"])


def test_cached_reads_block(backend: MemoryBackend, client: SyncClient) -> None:
    """And are as new as what was seen."""
    with client.live("p") as live:
        assert client.cached.session("a").value.version == 1
        backend.put(session("a", 2))
        live.until(lambda one: one.version == 2)
        found = client.cached.session("a")
        assert (found.value.version, found.stale) == (2, False)
        assert client.cached.task("t").value.sessions["run"].version == 2
        assert [one.id for one in client.cached.sessions("t").value] == ["a"]


def test_a_function_gives_the_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is asked when one is needed, and when one was refused."""
    tokens = [
        make_token(SECRET, sub="ann", projects=["p"], scopes=["sessions:read", "sessions:write"], ttl_s=3600),
        _expired(),
    ]
    env = {"SESSIONCAST_JWT_SECRET": SECRET}
    with (
        NodeProcess(tmp_path_factory.mktemp("node"), port=free_port(), env=env, arguments=()) as node,
        SyncClient(node.url, tokens.pop, limits=LIMITS) as client,
    ):
        assert client.projects.put("p").id == "p"
        with client.live("p") as live:
            assert dict(live.sessions) == {}
        with pytest.raises(NotFound):
            client.projects.get("q")
    assert tokens == []


@pytest.mark.parametrize(
    ("view", "shown"), [(SyncSubscription, Subscription), (SyncLive, Live), (SyncCached, CachedReads)]
)
def test_types_of_views_name_what_there_is(view: type, shown: type) -> None:
    """Each method and attribute that a checker is told of is one of the object's."""
    wanted = {name for name in (*vars(view), *view.__annotations__) if not name.startswith("_")}
    source = inspect.getsource(shown)
    assert wanted
    assert {name for name in wanted if not hasattr(shown, name) and f"self.{name}" not in source} == set()


def _expired() -> str:
    """What looks like a token, and is none that is taken."""
    claims = urlsafe_b64encode(b'{"sub": "ann", "exp": %d}' % (time.time() + 3600)).rstrip(b"=").decode()
    return f"e30.{claims}.e30"
