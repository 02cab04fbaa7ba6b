"""Cached reads, with requests: one at a time, conditional, and never behind what was seen."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sessioncast import Client, ConnectionLost, Limits, NotFound
from sessioncast.cached import CachedReads
from sessioncast.testing import Asked, MemoryBackend, Reply
from support.cachemodel import session, task
from support.scripted import Reply as Line
from support.scripted import ScriptedServer
from support.waiting import until

PATH = "/v1/sessions/a"


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A client over a double whose answers are held back on demand."""

    def __init__(self, backend: MemoryBackend, client: Client) -> None:
        self.backend = backend
        self.client = client
        self.clock = Clock()
        self.cached = client._cached = CachedReads(
            client._sender, backend.counters, clock=self.clock, jitter=lambda: 0.5
        )
        self.gates: list[asyncio.Event] = []

    def hold(self, path: str = PATH) -> None:
        """Answers to this path are read at once, and given when `let` says so."""

        async def held(asked: Asked) -> Any:
            channel, reply = self.backend._state(asked, list(asked.query.items()))
            position = "" if channel is None else channel.position
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
            return Reply(reply.document, reply.status, {"X-Position": position})

        self.backend.answer("GET", path, held)

    async def let(self, which: int = -1) -> None:
        """The last, or an earlier, answer goes out."""
        await until(lambda: len(self.gates) > max(which, 0), "a request")
        self.gates[which].set()

    @property
    def asked(self) -> list[Asked]:
        """Requests for sessions and tasks."""
        return [asked for asked in self.backend.asked if asked.method == "GET" and "/events" not in asked.path]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A double with a task and a session of it."""
    backend = MemoryBackend(limits=Limits(deadline_s=0.05, backoff_base_s=0.001, backoff_cap_s=0.01))
    backend.put(task({}), session("a"))
    async with Client(backend=backend) as client:
        yield Stage(backend, client)


async def test_what_was_read_is_not_asked_for_again(stage: Stage) -> None:
    """For its time; then it is given as stale, and asked for in the background by its `ETag`."""
    first = await stage.cached.session("a")
    stage.clock.now = 7.0
    second = await stage.cached.session("a")
    assert (second.value, second.stale, second.age_s, len(stage.asked)) == (first.value, False, 7.0, 1)
    stage.clock.now = 9.0
    assert not (await stage.cached.session("a")).stale
    await until(lambda: len(stage.asked) == 2, "the early refresh")
    assert "if-none-match" in stage.asked[1].headers
    await until(lambda: not stage.cached._asking, "its answer")
    stage.clock.now = 20.0
    assert (await stage.cached.session("a")).stale
    await until(lambda: len(stage.asked) == 3 and not stage.cached._asking, "its answer")
    assert not (await stage.cached.session("a")).stale
    stage.clock.now = 200.0
    assert not (await stage.cached.session("a")).stale
    stats = stage.client.stats()
    assert (stats.cache_hits, stats.cache_stale, stats.cache_misses) == (3, 1, 2)
    assert stats.cache_hit_rate == pytest.approx(4 / 6)


async def test_many_who_want_one_thing_ask_once(stage: Stage) -> None:
    """Also when the first of them does not wait for it."""
    stage.hold()
    waiting = [asyncio.create_task(stage.cached.session("a")) for _ in range(10)]
    await until(lambda: len(stage.gates) == 1, "the request")
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    await stage.let()
    found = await asyncio.gather(*waiting[1:])
    assert len({id(one.value) for one in found}) == 1
    assert len(stage.asked) == 1


async def test_an_answer_that_an_event_overtook_is_not_kept(stage: Stage) -> None:
    """Who asked before is given it; who asks after the event is given what the event told."""
    async with stage.client.subscribe("p") as stream:
        await anext(stream), await anext(stream)
        stage.hold()
        early = asyncio.create_task(stage.cached.session("a"))
        await until(lambda: len(stage.gates) == 1, "the request")
        stage.backend.put(session("a", 2))
        await anext(stream)
        late = asyncio.create_task(stage.cached.session("a"))
        await asyncio.sleep(0)
        await stage.let()
        assert (await early).value.version in (1, 2)
        await until(lambda: len(stage.gates) == 2, "the request of the late one")
        await stage.let()
        assert (await late).value.version == 2


async def test_a_write_under_way_is_not_overwritten(stage: Stage) -> None:
    """A read that began before it was answered, and ends after it, is not kept."""
    stage.hold()
    reading = asyncio.create_task(stage.cached.session("a"))
    await until(lambda: len(stage.gates) == 1, "the request")
    stage.backend.put(session("a", 2))
    stage.backend.answer("PATCH", PATH, Reply(session("a", 2)))
    await stage.client.sessions.patch("a", status="idle")
    await stage.let()
    await reading
    later = asyncio.create_task(stage.cached.session("a"))
    await until(lambda: len(stage.gates) == 2, "another request")
    await stage.let()
    assert (await later).value.version == 2


async def test_a_write_without_an_answer_may_have_been_done(stage: Stage) -> None:
    """What it names is read again."""
    await stage.cached.session("a")
    stage.backend.answer("PATCH", PATH, ConnectionLost("x", "away"))
    with pytest.raises(ConnectionLost):
        await stage.client.sessions.patch("a", status="idle")
    assert not stage.cached.cache
    await stage.cached.session("a")
    assert stage.client.stats().cache_misses == 2


async def test_other_reads_are_seen_too(stage: Stage) -> None:
    """What a plain read showed is what a cached one gives, with the task and the list that it is in."""
    await stage.cached.session("a")
    await stage.cached.task("t")
    await stage.cached.sessions("t")
    stage.backend.put(session("a", 2))
    assert (await stage.cached.session("a")).value.version == 1
    assert (await stage.client.sessions.get("a")).version == 2
    assert (await stage.cached.session("a")).value.version == 2
    assert (await stage.cached.task("t")).value.sessions["run"].version == 2
    assert [one.version for one in (await stage.cached.sessions("t")).value] == [2]
    stage.backend.put(session("a", 3))
    assert (await stage.client.sessions.list("t", phase="run"))[0].version == 3
    assert (await stage.cached.session("a")).value.version == 3


async def test_what_is_gone_is_not_given(stage: Stage) -> None:
    """The server says so in the background; a server that is away says nothing of it."""
    await stage.cached.session("a")
    stage.clock.now = 20.0
    stage.backend.answer("GET", PATH, ConnectionLost("x", "away"))
    assert (await stage.cached.session("a")).stale
    await until(lambda: not stage.cached._asking, "its failure")
    assert (await stage.cached.session("a")).stale
    await until(lambda: not stage.cached._asking, "its failure")
    stage.backend.answer("GET", PATH, Reply({"status": 404, "code": "not_found"}, 404))
    assert (await stage.cached.session("a")).stale
    await until(lambda: not stage.cached._asking, "the refusal")
    with pytest.raises(NotFound):
        await stage.cached.session("a")


async def test_a_node_that_is_behind_is_asked_to_wait(server: ScriptedServer, quick: Limits) -> None:
    """An answer from before what was seen is not given: the next request names the position."""
    old, new = session("a").model_dump(mode="json"), session("a", 2).model_dump(mode="json")
    async with Client(server.url, limits=quick) as client:
        cached = client.cached
        server.say(Line(200, new, {"X-Position": "e:9"}), *[Line(200, old, {"X-Position": "e:5"})] * 2)
        server.say(Line(200, new, {"X-Position": "e:9"}))
        await client.sessions.patch("a", status="idle")
        assert (await cached.session("a")).value.version == 2
        assert [seen.query.get("min_position") for seen in server.seen] == [None, None, ["e:9"], ["e:9"]]
        server.say(*[Line(200, old, {"X-Position": "e:5"})] * 4)
        client._cached.cache.drop(next(iter(client._cached.cache._entries)))  # type: ignore[union-attr]  # it is in use
        with pytest.raises(ConnectionLost, match="older"):
            await cached.session("a")


async def test_closing_ends_who_waits(stage: Stage) -> None:
    """By an error, not by a cancellation that nobody asked for."""
    stage.hold()
    waiting = asyncio.create_task(stage.cached.session("a"))
    await until(lambda: len(stage.gates) == 1, "the request")
    await stage.client.aclose()
    with pytest.raises(ConnectionLost, match="closed"):
        await waiting
