"""A PostgreSQL that is killed, frozen, restarted or cut off in the worst moment."""

import asyncio
import threading
from collections import Counter
from contextlib import suppress

import psycopg
import pytest

from sessioncast_server.db.errors import CommitUnknownError, DatabaseError, UnavailableError
from sessioncast_server.db.migrate import migrate
from sessioncast_server.db.statement import Text
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.once import Ticket, claim, keep
from sessioncast_server.web.answer import Answer
from support.commitproxy import CommitProxy
from support.gate import Gate
from support.postgres import Postgres
from support.store import Store, add, opened, titles
from support.waiting import DEADLINE_S, STALL_S, until

_BACKEND = Text(postgresql="SELECT pg_backend_pid() AS pid", columns={"pid": None})
_LOCK = Text(postgresql="SELECT id FROM task WHERE id = %(id)s FOR NO KEY UPDATE", columns={"id": None})
_SLEEP = Text(postgresql="SELECT pg_sleep(60) AS n", columns={"n": None})


@pytest.fixture
def own_url(own_postgres: Postgres) -> str:
    """URL of a migrated database on a server of this test's own."""
    migrate(own_postgres.url)
    return own_postgres.url


async def works_again(store: Store, title: str) -> None:
    """Write until it is possible; every failure before that is one of the store's own."""

    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(UnavailableError):
                await store.database.write(add, title)
                return
            await asyncio.sleep(0.05)


async def somebody_waits(url: str) -> None:
    """Return once a backend of the database waits for a lock."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as observer:
        await until(lambda: observer.execute(query).fetchone() is not None, "a backend to wait for a lock")


def apply_once(tx: WriteTx, title: str) -> Answer:
    """A change with a key, as requests make it."""
    ticket = Ticket.of("key", user="u", method="POST", path="/", body=b"", ttl_s=3600)
    before = claim(tx, ticket)
    if before is not None:
        return before
    answer = Answer(201, add(tx, title).encode(), {})
    keep(tx, ticket, answer)
    return answer


async def test_a_lost_answer_to_commit_is_unknown_and_repeating_applies_once(migrated_postgres_url: str) -> None:
    """Cut after COMMIT: CommitUnknownError, heads are doubted, and the same key gives the answer of the one change."""
    async with CommitProxy(migrated_postgres_url) as proxy, opened(proxy.url) as store:
        proxy.armed = True
        with pytest.raises(CommitUnknownError):
            await store.database.write(apply_once, "one")
        assert proxy.cuts == 1
        assert store.doubts == 1
        again = (await store.database.write(apply_once, "one")).value
        assert again.status == 201
        assert await store.titles() == ["one"]
        assert again.headers["X-Position"].endswith(":1")
        assert (await store.head()).offset == 1


async def test_a_connection_lost_before_commit_is_no_doubt(own_url: str) -> None:
    """A backend that is killed while a function runs takes its transaction along, and the function runs once more."""
    gate = Gate()
    pids: list[int] = []

    def interrupted(tx: WriteTx) -> None:
        pids.append(tx.one(_BACKEND).pid)
        add(tx, "interrupted")
        gate(tx)
        titles(tx)

    async with opened(own_url, write_threads=1) as store:
        await store.database.write(add, "before")
        call = asyncio.create_task(store.database.write(interrupted))
        await until(gate.entered.is_set, "the function to run")
        with psycopg.connect(own_url, autocommit=True) as killer:
            killer.execute("SELECT pg_terminate_backend(%s, 10000)", pids)
        gate.open()
        await call
        await works_again(store, "later")
        assert len(set(pids)) == 2
        assert await store.titles() == ["before", "interrupted", "later"]
        assert store.doubts == 0


async def test_a_killed_server_is_told_and_used_again_when_it_is_back(own_postgres: Postgres, own_url: str) -> None:
    """SIGKILL under writes: each is acknowledged or fails by name, and what was acknowledged is there afterwards."""
    acknowledged: list[str] = []
    failed: list[BaseException] = []

    async def write_on(name: int) -> None:
        for turn in range(10_000):
            try:
                await store.database.write(add, f"{name}/{turn}")
            except DatabaseError as error:
                failed.append(error)
                return
            acknowledged.append(f"{name}/{turn}")

    async with opened(own_url) as store:
        writers = [asyncio.create_task(write_on(name)) for name in range(4)]
        await until(lambda: len(acknowledged) > 20, "some writes")
        await asyncio.to_thread(own_postgres.kill)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*writers)
        assert len(failed) == 4
        await asyncio.to_thread(own_postgres.start)
        await works_again(store, "later")
        found = await store.titles()
        assert set(found) >= {*acknowledged, "later"}
        assert (await store.head()).offset == len(found)


async def test_a_frozen_server_frees_its_callers_at_their_deadline(own_postgres: Postgres, own_url: str) -> None:
    """A server that answers nothing holds a call until its deadline only; thawed, it is used again."""
    # Shorter than the time that a frozen server has for a new connection, which a call may happen to need.
    async with opened(own_url, write_deadline_s=4.0, read_deadline_s=4.0) as store:
        await store.database.write(add, "before")
        await store.titles()
        own_postgres.freeze()
        try:
            calls = [asyncio.create_task(call) for call in (store.database.write(add, "no"), store.titles())]
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), DEADLINE_S)
        finally:
            own_postgres.thaw()
        assert [getattr(outcome, "reason", None) for outcome in outcomes] == ["deadline", "deadline"]
        await works_again(store, "later")
        assert await store.titles() == ["before", "later"]


async def test_a_deadlock_is_run_again(migrated_postgres_url: str) -> None:
    """Two functions that lock two rows in opposite order both succeed, for the loser runs again."""
    holding = {"forth": threading.Event(), "back": threading.Event()}
    tries: Counter[str] = Counter()

    def crossing(tx: WriteTx, first: str, second: str, title: str) -> int:
        tx.one(_LOCK, id=first)
        tries[title] += 1
        holding[title].set()
        for other in holding.values():
            assert other.wait(DEADLINE_S)
        tx.one(_LOCK, id=second)
        add(tx, title)
        return tries[title]

    async with opened(migrated_postgres_url) as store:
        a, b = [(await store.database.write(add, title)).value for title in "ab"]
        await asyncio.gather(
            store.database.write(crossing, a, b, "forth"), store.database.write(crossing, b, a, "back")
        )
        assert sum(tries.values()) > 2  # one of them lost
        assert sorted(await store.titles()) == ["a", "b", "back", "forth"]
        assert (await store.head()).offset == 4


async def test_counters_locked_crosswise_in_commit_are_run_again(migrated_postgres_url: str) -> None:
    """A deadlock that shows only in the round trip of COMMIT is run again too, and every event is written once."""
    async with opened(migrated_postgres_url) as store:
        with psycopg.connect(migrated_postgres_url) as stranger:
            task = (await store.database.write(add, "a")).value
            stranger.execute("SELECT 1 FROM channel WHERE project_id = 'p' FOR UPDATE")

            def holds_a_row(tx: WriteTx) -> None:
                tx.one(_LOCK, id=task)
                add(tx, "b")

            call = asyncio.create_task(store.database.write(holds_a_row))
            await somebody_waits(migrated_postgres_url)

            def cross() -> None:
                # The stranger waits for the row that the call holds while the call waits for the stranger's counter.
                try:
                    stranger.execute("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [task])
                finally:
                    stranger.rollback()

            with suppress(psycopg.errors.DeadlockDetected):  # either may lose
                await asyncio.to_thread(cross)
            await call
        assert await store.titles() == ["a", "b"]
        assert (await store.head()).offset == 2


async def test_a_restarted_server_costs_no_more_than_the_calls_under_way(own_postgres: Postgres, own_url: str) -> None:
    """After a restart between two writes every connection is made anew."""
    async with opened(own_url, write_threads=2) as store:
        await asyncio.gather(*(store.database.write(add, str(n)) for n in range(8)))
        await asyncio.to_thread(own_postgres.restart)
        await works_again(store, "later")
        await works_again(store, "last")
        assert {"later", "last"} <= set(await store.titles())


async def test_an_abort_that_comes_too_late_costs_the_next_call_nothing(migrated_postgres_url: str) -> None:
    """A socket that was shut after its call had ended is replaced before the next call uses it."""
    async with opened(migrated_postgres_url, write_threads=1) as store:
        await store.database.write(add, "one")

        def shut(link: object) -> None:
            link.abort()  # type: ignore[attr-defined]  # as the pool does at a deadline

        await store.database._writers.run(shut)  # type: ignore[attr-defined]  # no public way hits that moment
        await store.database.write(add, "two")
        assert await store.titles() == ["one", "two"]


async def test_a_pool_that_is_exhausted_refuses_and_recovers(migrated_postgres_url: str) -> None:
    """With every connection busy, calls wait up to their deadline and beyond the bound are refused at once."""

    def sleep(tx: ReadTx) -> None:
        tx.one(_SLEEP)

    async with opened(migrated_postgres_url, read_threads=2, queue_max=3, read_deadline_s=STALL_S) as store:
        calls = [asyncio.create_task(store.database.read(sleep)) for _ in range(2)]
        await until(lambda: store.database._readers._busy == 2, "both connections to be busy")  # type: ignore[attr-defined]  # the pool's own count
        calls += [asyncio.create_task(store.titles()) for _ in range(4)]  # type: ignore[arg-type]  # outcomes differ
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        reasons = [getattr(outcome, "reason", "served") for outcome in outcomes]
        assert reasons[:2] == ["deadline", "deadline"]
        assert reasons.count("queue") == 1
        assert await store.titles() == []


async def test_a_statement_whose_preparation_was_skipped_is_still_run(migrated_postgres_url: str) -> None:
    """What fails in a pipeline takes the preparing of later statements along; the next who needs them gets them."""
    known = Text(postgresql="SELECT %(value)s::int AS value", columns={"value": None})
    broken = Text(postgresql="SELECT 1 / %(value)s::int AS value", columns={"value": None})

    def fails(tx: WriteTx) -> None:
        tx.run(broken, value=0)
        tx.run(known, value=1)  # nobody waits for it: it is skipped

    async with opened(migrated_postgres_url, write_threads=1) as store:
        for _ in range(4):  # once, twice: prepared
            with pytest.raises(psycopg.errors.DivisionByZero):
                await store.database.write(fails)
        assert (await store.database.write(lambda tx: tx.one(known, value=2).value)).value == 2
        await works_again(store, "later")
        assert store.doubts == 0
