"""What a node knows of the flags, and what it does once it knows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.db.migrate import migrate
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.flags.api import Changed, FlagsApi
from sessioncast_server.flags.rules import Flag, bucket_of
from sessioncast_server.flags.service import get_flag, put_flag
from sessioncast_server.flags.view import FlagView
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.web.endpoint import router, routes
from sessioncast_server.web.inputs import Limits
from support.api import SECRET, bearer
from support.asgi import served
from support.postgres import Postgres
from support.store import Store, opened
from support.waiting import DEADLINE_S, until

FLAG = Flag.SINGLE_SESSION
_SOON_S = 5.0  # a second, and time for a machine that is busy with other tests; a period of five seconds will not do
_HEADERS = {"Authorization": bearer(scopes=("admin",)), "Content-Type": "application/json"}


@asynccontextmanager
async def looking(view: FlagView) -> AsyncIterator[None]:
    """A view that looks again and again until the block ends."""
    task = asyncio.create_task(view.run_for_ever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def seen(view: FlagView, percentage: float, *, deadline_s: float = DEADLINE_S) -> None:
    """Return once the view knows that the flag is on for so many."""
    await until(lambda: view.percentage(FLAG) == percentage, f"{percentage} % to be seen", deadline_s=deadline_s)


async def test_it_begins_as_shipped(store: Store) -> None:
    """Before the first look every flag is on for all."""
    view = FlagView(store.database, 3600)
    seen = [(view.percentage(flag), view.decided(flag), view.enabled(flag, "demo")) for flag in Flag]
    assert set(seen) == {(100.0, True, True)}


async def test_it_knows_what_it_saw(store: Store) -> None:
    """On and off are decided for all; a share is not, and is on for who the rule says."""
    view, bucket = FlagView(store.database, 3600), bucket_of(FLAG, "demo")
    for percentage, decided, enabled in (
        (0.0, False, False),
        (bucket / 100, None, False),
        (bucket / 100 + 0.01, None, True),
        (100.0, True, True),
    ):
        await store.database.write(put_flag, FLAG, percentage, "ann")
        await view.refresh()
        seen = (view.percentage(FLAG), view.decided(FLAG), view.enabled(FLAG, "demo"))
        assert seen == (percentage, decided, enabled)
        assert view.state(FLAG) == await store.database.read(get_flag, FLAG)


async def test_it_looks_by_itself(store: Store) -> None:
    """A change that nobody told it of is seen after a period."""
    view = FlagView(store.database, 0.01)
    async with looking(view):
        for percentage in (0.0, 25.0, 100.0):
            await store.database.write(put_flag, FLAG, percentage, "ann")
            await seen(view, percentage)


async def test_it_tells_who_listens(store: Store) -> None:
    """Each change that it learns of is told once to who listens to that flag, when the view knows it already."""
    view = FlagView(store.database, 3600)
    told: list[tuple[Flag, float]] = []
    for flag in (FLAG, Flag.PUSH):
        view.listen(flag, lambda flag=flag: told.append((flag, view.percentage(flag))))  # type: ignore[misc]  # bound early
    await view.refresh()
    for percentage in (100.0, 5.0, 5.0, 0.0):  # the first and the third change nothing
        await store.database.write(put_flag, FLAG, percentage, "ann")
        await view.refresh()
        await view.refresh()
    assert told == [(FLAG, 5.0), (FLAG, 0.0)]
    await store.database.write(put_flag, Flag.PUSH, 0.0, "ann")
    await store.database.write(put_flag, Flag.PUSH, 100.0, "ann")
    await view.refresh()
    assert len(told) == 2, "on again before anybody looked"
    await store.database.write(put_flag, Flag.PUSH, 0.0, "ann")
    await view.refresh()
    assert told[2:] == [(Flag.PUSH, 0.0)]


async def test_it_outlives_its_database(own_postgres: Postgres) -> None:
    """While PostgreSQL is gone it knows what it last saw, and a change made afterwards reaches it."""
    migrate(own_postgres.url)
    async with opened(own_postgres.url, project=False) as store:
        view = FlagView(store.database, 0.01)
        await store.database.write(put_flag, FLAG, 0.0, "ann")
        await view.refresh()
        own_postgres.stop()
        for _ in range(3):
            await view.refresh()
            assert view.decided(FLAG) is False
        async with looking(view):
            await asyncio.to_thread(own_postgres.start)
            async with opened(own_postgres.url, project=False) as other:
                await other.database.write(put_flag, FLAG, 100.0, "ann")
            await until(lambda: view.decided(FLAG) is True, "the change to be seen")


async def test_two_nodes_agree_within_a_second(migrated_postgres_url: str) -> None:
    """With the period as it is shipped a change made elsewhere is seen in less than the promised second."""
    async with opened(migrated_postgres_url) as one, opened(migrated_postgres_url, project=False) as two:
        view = FlagView(two.database, 0.5)
        async with looking(view):
            late = 0
            for percentage in (0.0, 5.0, 50.0, 95.0, 100.0):
                await one.database.write(put_flag, FLAG, percentage, "ann")
                try:
                    await seen(view, percentage, deadline_s=_SOON_S)
                except TimeoutError:
                    late += 1
                    await seen(view, percentage)
            assert late <= 1, "a machine stands still once, a period that is too long is so each time"


@asynccontextmanager
async def api(store: Store, view: FlagView, changed: Changed) -> AsyncIterator[httpx2.AsyncClient]:
    """The endpoints on a port."""
    mutator = Mutator(store.database, ttl_s=60, count=lambda _: None)
    table = FlagsApi(mutator, store.database, view, changed=changed, metrics=Metrics()).endpoints()
    app = router(routes(table, authenticator=Authenticator(secret=SECRET), limits=Limits()))
    async with served(app) as address, httpx2.AsyncClient(base_url=f"http://{address}", headers=_HEADERS) as http:
        yield http


async def test_what_is_settled_is_told(store: Store) -> None:
    """After the commit, and once this node knows, what the flag left is settled; a repetition has the rest settled."""
    view = FlagView(store.database, 3600)
    found: list[tuple[str, bool | None]] = []
    left: list[int | None] = [7, 2, None]

    async def settle(flag: Flag) -> int | None:
        committed = await store.database.read(get_flag, flag)
        found.append((committed.state, view.decided(flag)))
        return left.pop(0)

    async with api(store, view, settle) as http:
        key = {"Idempotency-Key": "k"}
        first = await http.put(f"/v1/admin/flags/{FLAG}", json={"state": "off"}, headers=key)
        again = await http.put(f"/v1/admin/flags/{FLAG}", json={"state": "off"}, headers=key)
        third = await http.put(f"/v1/admin/flags/{FLAG}", json={"state": "off"})
    assert found == [("off", False)] * 3
    assert first.json()["settled"] == 7
    assert again.json() == first.json() | {"settled": 2}
    assert "settled" not in third.json()
    assert first.headers["etag"] == again.headers["etag"] == third.headers["etag"]


async def test_a_refused_change_settles_nothing(store: Store) -> None:
    """Bad input does not get as far."""
    settled: list[Flag] = []

    async def settle(flag: Flag) -> None:
        settled.append(flag)

    async with api(store, FlagView(store.database, 3600), settle) as http:
        answer = await http.put(f"/v1/admin/flags/{FLAG}", json={"state": "percentage"})
    assert answer.status_code == 422
    assert settled == []
