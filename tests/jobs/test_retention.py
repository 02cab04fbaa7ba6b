"""Logs and kept answers do not grow for ever."""

from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.exchange.once import Ticket, claim, keep
from sessioncast_server.jobs.retention import Retention
from sessioncast_server.web.answer import Answer
from support.store import Store, add


def _answer(tx: WriteTx, ticket: Ticket) -> Answer | None:
    before = claim(tx, ticket)
    if before is None:
        keep(tx, ticket, Answer(201, b"{}"))
    return before


async def test_a_sweep_takes_all_that_may_go(store: Store) -> None:
    """More than a batch of old events goes in one sweep; the newest stay, and so does the head."""

    def many(tx: WriteTx) -> None:
        for number in range(1100):
            add(tx, f"task {number}")

    await store.database.write(many)
    retention = Retention(store.database, keep_s=0, keep_events=30, answers_s=3600)
    assert await retention.sweep() == 1070
    assert (await store.head()).floor == 1070
    assert [entry.offset for entry in await store.entries(after=1070)] == list(range(1071, 1101))
    assert await retention.sweep() == 0


async def test_a_sweep_forgets_old_answers_only(store: Store) -> None:
    """An answer is given again until it is as old as answers get, then its row is gone."""
    ticket = Ticket.of("k", user="u", method="POST", path="/", body=b"", ttl_s=3600)
    assert (await store.database.write(_answer, ticket)).value is None
    await Retention(store.database, keep_s=0, keep_events=1, answers_s=3600).sweep()
    assert (await store.database.write(_answer, ticket)).value is not None
    await Retention(store.database, keep_s=0, keep_events=1, answers_s=0).sweep()
    assert (await store.database.write(_answer, ticket)).value is None
