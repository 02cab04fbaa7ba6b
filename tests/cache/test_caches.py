"""Every cache keeps answers alike."""

import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from sessioncast_server.cache.base import Cache, Kept, Key
from sessioncast_server.cache.memory import MemoryCache
from sessioncast_server.cache.redis import RedisCache, RedisCacheLimits
from sessioncast_shared.position import Position
from support.vitals import until_so


def kept(body: bytes = b'{"data": []}', offset: int = 1, project: str = "p") -> Kept:
    """An answer."""
    return Kept(project, Position("e", offset), f'"e:{offset}"', body)


def new_key(view: str = "run.*") -> Key:
    """A question that nobody asked."""
    return Key(str(uuid4()), view)


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    """A cache of each kind."""
    made: Cache
    if request.param == "memory":
        made = MemoryCache(entries=1000, size=1 << 20, clock=time.monotonic)
    else:
        # Patient: here it is asked what it keeps, not how fast it gives up.
        limits = RedisCacheLimits(timeout_s=20, body_max=1 << 20)
        made = RedisCache(request.getfixturevalue("valkey").url, limits=limits, clock=time.monotonic)
    yield made
    await made.close()


async def test_what_was_put_is_found_whole(cache: Cache) -> None:
    """Every field comes back, with no more time left than it was given, and under its own question only."""
    key = new_key()
    answer = kept('{"data": ["é\n"]}\n'.encode(), 7, "p-1")
    assert await cache.get(key) is None
    await cache.put(key, answer, 60)
    found = await cache.get(key)
    assert found is not None
    assert found.kept == answer
    assert 0 < found.left_s <= 60
    assert await cache.get(Key(key.task_id, "run.false")) is None
    assert await cache.get(new_key()) is None


async def test_what_was_put_last_counts(cache: Cache) -> None:
    """An answer takes the place of the one before it, its life included."""
    key = new_key()
    await cache.put(key, kept(offset=1), 60)
    await cache.put(key, kept(offset=2), 600)
    found = await cache.get(key)
    assert found is not None
    assert found.kept == kept(offset=2)
    assert found.left_s > 60


async def test_an_answer_goes_at_its_end(cache: Cache) -> None:
    """After its life it is not found any more."""
    key = new_key()
    await cache.put(key, kept(), 0.05)

    async def gone() -> bool:
        return await cache.get(key) is None

    await until_so(gone, lambda: "the answer to go")


async def test_a_body_may_be_empty_or_any_bytes(cache: Cache) -> None:
    """Nothing is read into a body."""
    for body in (b"", b"\0\xff\n\n", b"x" * 100_000):
        key = new_key()
        await cache.put(key, kept(body), 60)
        found = await cache.get(key)
        assert found is not None
        assert found.kept.body == body


async def test_what_is_too_large_is_not_kept(cache: Cache) -> None:
    """A body over the bound is forgotten at once, and takes nothing else with it that would fit."""
    key = new_key()
    await cache.put(key, kept(b"x" * ((1 << 20) + 1)), 60)
    assert await cache.get(key) is None
