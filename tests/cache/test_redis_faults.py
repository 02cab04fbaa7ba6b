"""Whatever Redis does, it costs a miss."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import redis

from sessioncast_server.cache.base import Kept, Key
from sessioncast_server.cache.codec import encode, name_of
from sessioncast_server.cache.redis import RedisCache, RedisCacheLimits
from sessioncast_shared.position import Position
from support.ports import free_port
from support.valkey import Valkey
from support.waiting import DEADLINE_S

KEY = Key("01234567-89ab-7def-8123-456789abcdef", "run.*")


def kept(number: int = 1) -> Kept:
    """An answer of its own."""
    return Kept("p", Position("e", number), f'"e:{number}"', b'{"data": [%d]}' % number)


class Ticks:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Ticks:
    """The cache's clock."""
    return Ticks()


@pytest.fixture
async def cache(own_valkey: Valkey, clock: Ticks) -> AsyncIterator[RedisCache]:
    """A cache with a breaker of 2 s of its clock."""
    made = RedisCache(own_valkey.url, limits=RedisCacheLimits(timeout_s=2, body_max=1000), clock=clock)
    yield made
    await made.close()


async def test_a_dead_redis_is_a_miss(clock: Ticks) -> None:
    """Nobody listens: nothing is found, nothing is kept, nothing is raised."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    cache = RedisCache(url, limits=RedisCacheLimits(), clock=clock)
    await cache.put(KEY, kept(), 60)
    assert await cache.get(KEY) is None
    clock.now += 3
    assert await cache.get(KEY) is None
    await cache.close()


async def test_a_frozen_redis_is_asked_once_per_pause(cache: RedisCache, own_valkey: Valkey, clock: Ticks) -> None:
    """After a failure it is left alone, even when it is well again, until the pause is over; then it serves."""
    await cache.put(KEY, kept(), 600)
    assert await cache.get(KEY) is not None
    own_valkey.freeze()
    async with asyncio.timeout(DEADLINE_S):
        assert await cache.get(KEY) is None
        own_valkey.thaw()
        assert await cache.get(KEY) is None
        await cache.put(KEY, kept(2), 600)
    clock.now += 2.1
    found = await cache.get(KEY)
    assert found is not None
    assert found.kept == kept(1)


async def test_only_one_tries_a_redis_that_failed(cache: RedisCache, own_valkey: Valkey, clock: Ticks) -> None:
    """When the pause is over one question pays for finding out that it lasts."""
    own_valkey.freeze()
    assert await cache.get(KEY) is None
    clock.now += 2.1
    trial = asyncio.create_task(cache.get(KEY))
    await asyncio.sleep(0)
    assert [await cache.get(KEY) for _ in range(100)] == [None] * 100
    assert not trial.done()
    assert await trial is None
    own_valkey.thaw()


async def test_a_killed_redis_that_is_back_serves_again(cache: RedisCache, own_valkey: Valkey, clock: Ticks) -> None:
    """Connections that died are replaced; what it held is gone, and new answers are kept."""
    await cache.put(KEY, kept(), 600)
    own_valkey.kill()
    assert await cache.get(KEY) is None
    own_valkey.start()
    clock.now += 2.1
    await cache.put(KEY, kept(2), 600)
    found = await cache.get(KEY)
    assert found is not None
    assert found.kept == kept(2)


async def test_foreign_bytes_are_a_miss(cache: RedisCache, own_valkey: Valkey, clock: Ticks) -> None:
    """Garbage, another question's answer, another type, one that never goes, one that is too large."""
    name = name_of(KEY)
    good = encode(KEY, kept())
    with redis.Redis.from_url(own_valkey.url) as admin:

        async def put(value: bytes, life_s: int | None = 60) -> bool:
            admin.delete(name)
            admin.set(name, value, ex=life_s)
            clock.now += 2.1
            return await cache.get(KEY) is not None

        assert await put(good)
        assert not await put(b"garbage")
        assert not await put(encode(Key("other", "run.*"), kept()))
        assert not await put(good, None)
        assert not await put(good[:-1])
        assert not await put(encode(KEY, Kept("p", Position("e", 1), '"e:1"', b"x" * 5_000_000)))
        admin.delete(name)
        admin.rpush(name, b"a list")
        assert await cache.get(KEY) is None
        clock.now += 2.1
        assert await put(good)


async def test_who_gives_up_spoils_nothing_for_others(cache: RedisCache, clock: Ticks) -> None:
    """Questions cancelled amid their reply leave no reply behind for the next question on that connection."""
    dice = random.Random(7)
    keys = {Key(f"task-{number}", "v"): kept(number) for number in range(1, 30)}
    for key, answer in keys.items():
        await cache.put(key, answer, 600)
    for _ in range(30):
        asking = {key: asyncio.create_task(cache.get(key)) for key in keys}
        for _ in range(dice.randint(0, 6)):
            await asyncio.sleep(0)
        for task in asking.values():
            if dice.random() < 0.4:
                task.cancel()
        for key, task in asking.items():
            (found,) = await asyncio.gather(task, return_exceptions=True)
            if found is not None and not isinstance(found, BaseException):
                assert found.kept == keys[key]
        clock.now += 2.1
    found = await cache.get(KEY)
    assert found is None


async def test_the_rights_that_are_documented_are_enough(own_valkey: Valkey, clock: Ticks) -> None:
    """A user as docs/redis.md makes it keeps and finds answers; without the keys it finds none, and that is all."""
    rules = "on >word resetkeys ~sessioncast:lookup:* resetchannels &sessioncast:* -@all +@pubsub +@connection"
    with redis.Redis.from_url(own_valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "able", *rules.split(), "+getrange", "+pttl", "+set")
        admin.execute_command("ACL", "SETUSER", "unable", *rules.split())
    for user, finds in (("able", True), ("unable", False)):
        url = own_valkey.url.replace("redis://", f"redis://{user}:word@")
        cache = RedisCache(url, limits=RedisCacheLimits(timeout_s=20), clock=clock)
        await cache.put(KEY, kept(), 60)
        clock.now += 3
        assert (await cache.get(KEY) is not None) is finds
        await cache.close()


def test_only_urls_of_redis_are_taken(clock: Ticks) -> None:
    """What is none is refused when the cache is made."""
    with pytest.raises(ValueError, match="scheme"):
        RedisCache("http://localhost", limits=RedisCacheLimits(), clock=clock)
