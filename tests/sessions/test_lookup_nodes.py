"""Lookups on two nodes with one PostgreSQL and one Redis."""

import random
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import redis

from support.api import SECRET, Api, Work
from support.cluster import make_schema, two_nodes
from support.lookups import Figures, warm
from support.node import NodeFactory
from support.valkey import Valkey
from support.vitals import becomes
from support.waiting import wait_until


@asynccontextmanager
async def _pair(node_factory: NodeFactory, url: str, redis_url: str | None, **env: str) -> AsyncIterator[list[Api]]:
    make_schema(url)
    # Answers live longer than any test: what ends one here is an event.
    env = {"SESSIONCAST_JWT_SECRET": SECRET, "SESSIONCAST_LOOKUP_TTL_S": "600", **env}
    nodes = await two_nodes(node_factory, url, redis_url, **env)
    with ExitStack() as stack:
        apis = [Api(node.url, database="postgresql") for node in nodes]
        for node, api in zip(nodes, apis, strict=True):
            stack.enter_context(api.http)
            await becomes(node, 200, "ok")
        yield apis
    assert all("Traceback" not in node.log() for node in nodes)


def _status(api: Api, path: str, **params: str) -> str:
    status: str = api.ok(api.get(path, params=params), 200)["data"][0]["status"]
    return status


def _move(api: Api, session: str, status: str) -> str:
    answer = api.patch(f"/v1/sessions/{session}", {"status": status})
    api.ok(answer, 200)
    position: str = answer.headers["x-position"]
    return position


async def test_what_is_known_of_the_other_node_is_seen(
    node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey
) -> None:
    """With the position of a change made on one node the other one shows it at once; without, as soon as it hears."""
    async with _pair(node_factory, postgres_url, own_valkey.url) as (one, other):
        work = one.work()
        session = work.session()["id"]
        for api in (one, other):
            warm(api, work.path)
        for number in range(20):
            status = ("running", "waiting")[number % 2]
            position = _move(one, session, status)
            assert _status(other, work.path, min_position=position) == status
            assert _status(one, work.path) == status
        _move(one, session, "idle")
        wait_until(lambda: _status(other, work.path) == "idle", "the other node to hear")


async def test_with_a_frozen_redis_the_head_check_bounds_what_is_old(
    node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey
) -> None:
    """Nothing is announced and nothing is in the far cache: a position still gives certainty, and the rest comes."""
    async with _pair(node_factory, postgres_url, own_valkey.url) as (one, other):
        work = one.work()
        session = work.session()["id"]
        for api in (one, other):
            warm(api, work.path)
        own_valkey.freeze()
        for status in ("running", "waiting", "idle"):
            position = _move(one, session, status)
            assert _status(one, work.path) == status
            assert _status(other, work.path, min_position=position) == status
            wait_until(lambda status=status: _status(other, work.path) == status, "the head check")  # type: ignore[misc]  # bound at once
        own_valkey.thaw()


async def test_what_one_node_read_spares_the_other_the_store(
    node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey
) -> None:
    """An answer goes to the other node by way of Redis, unless an event overtook it or it is not ours."""
    # A patient far cache: on a busy machine it must not be given up here.
    patient = {"SESSIONCAST_LOOKUP_REDIS_TIMEOUT_S": "10"}
    async with _pair(node_factory, postgres_url, own_valkey.url, **patient) as (one, other):
        work = one.work()
        for api in (one, other):  # both follow the project
            warm(api, work.path)
        with redis.Redis.from_url(own_valkey.url) as admin:
            tasks = [Work(one, work.project, _task(one, work.project)) for _ in range(3)]
            sessions = [task.session()["id"] for task in tasks]
            for task in tasks:
                assert _status(one, task.path) == "pending"
                name = f"sessioncast:lookup:{{{task.task}}}:*.*"
                wait_until(lambda name=name: bool(admin.exists(name)), "the answer to be in Redis")  # type: ignore[misc]  # bound at once

            before = Figures(other)
            _caught_up(one, other, work.path)
            assert _status(other, tasks[0].path) == "pending"
            after = Figures(other)
            assert after.source("redis") == before.source("redis") + 1

            _caught_up(one, other, work.path, _move(one, sessions[1], "running"))
            assert _status(other, tasks[1].path) == "running"

            admin.set(f"sessioncast:lookup:{{{tasks[2].task}}}:*.*", b"garbage", ex=600)
            assert _status(other, tasks[2].path) == "pending"
            assert Figures(other).source("redis") == after.source("redis")


def _task(api: Api, project: str) -> str:
    task: str = api.ok(api.post(f"/v1/projects/{project}/tasks", {"title": "T"}), 201)["id"]
    return task


def _caught_up(one: Api, other: Api, known: str, position: str | None = None) -> None:
    """Return once the other node has heard of all that is in the log: its answers from memory say how far it is."""
    wanted = position or one.get(known, params={"limit": 1}).headers["x-position"]
    wait_until(
        lambda: _offset(other.get(known).headers["x-position"]) >= _offset(wanted), "the other node to have caught up"
    )


def _offset(position: str) -> int:
    return int(position.partition(":")[2])


async def test_each_node_sees_its_own_changes_whatever_redis_does(
    node_factory: NodeFactory, postgres_url: str, own_valkey: Valkey
) -> None:
    """A hundred changes on both nodes, each looked up where it was made, with Redis flushed, frozen and back."""
    dice = random.Random(5)
    async with _pair(node_factory, postgres_url, own_valkey.url) as apis:
        work = apis[0].work()
        session = work.session()["id"]
        for api in apis:
            warm(api, work.path)
        with redis.Redis.from_url(own_valkey.url) as admin:
            for number in range(100):
                if number == 25:
                    admin.flushall()
                if number == 50:
                    own_valkey.freeze()
                if number == 75:
                    own_valkey.thaw()
                writer = dice.choice(apis)
                status = ("running", "waiting", "working")[number % 3]
                _move(writer, session, status)
                assert _status(writer, work.path) == status
                _status(dice.choice(apis), work.path)
