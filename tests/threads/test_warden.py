"""Messages that are not what was written: what goes with them, by plain transactions, and who looks after it."""

import asyncio
from typing import Any

import orjson
from sqlalchemy import bindparam, update

from sessioncast_server.db.statement import Statement
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.threads import changes, warden
from sessioncast_server.threads.messages import after, set_aside
from sessioncast_server.threads.meter import Meter
from sessioncast_server.threads.rules import Item, Owned
from sessioncast_server.threads.service import find_locked, get_thread, lock_thread
from sessioncast_server.threads.tables import MessageRow
from sessioncast_server.threads.warden import Warden
from support.store import PROJECT, Store
from support.threads import new_uuid, terms

CALL, OUTPUT = {"type": "function_call", "call_id": "a"}, {"type": "function_call_output", "call_id": "a"}
_ROW = MessageRow.__table__  # type: ignore[attr-defined]  # SQLModel sets it on tables
_DAMAGE = Statement(
    update(_ROW)
    .where(_ROW.c.thread_key == bindparam("of_key"), _ROW.c.seq == bindparam("of_seq"))
    .values(checksum=1 - _ROW.c.checksum)
)


def begun(tx: WriteTx, *items: Any, broken: int) -> Owned:
    """A thread with these items, of which one is broken."""
    name = Owned(PROJECT, "ann", new_uuid())
    messages = [item if isinstance(item, Item) else Item("any", item) for item in items]
    changes.add(tx, new_uuid(), name, messages, None, terms())
    tx.run(_DAMAGE, of_key=name.key, of_seq=broken)
    return name


def seqs(tx: ReadTx, name: Owned) -> list[int]:
    """What is in a thread, all of it sound, and as many as are counted."""
    reading = after(tx, get_thread(tx, name), 0, 99, 1 << 20)
    assert not reading.corrupt
    assert len(reading.messages) == get_thread(tx, name).message_count
    return [message.seq for message in reading.messages]


async def test_what_went_with_a_broken_message_is_appended_again(store: Store) -> None:
    """Appended again by their ids, both of a unit that was set aside are there: neither is taken to have stayed."""
    call, output = Item("assistant", CALL, new_uuid()), Item("tool", OUTPUT, new_uuid())

    def play(tx: WriteTx) -> None:
        for again in ([call, output], [output, call], [call], [output]):
            name = begun(tx, "one", call, output, broken=3)
            answer = changes.add(tx, new_uuid(), name, again, None, terms())
            told = [message["seq"] for message in orjson.loads(answer.body)["data"]]
            if output in again:  # the broken one is only found where it is looked at
                assert told == list(range(4, 4 + len(again)))
                assert seqs(tx, name) == [1, *told]

    await store.database.write(play)


async def test_a_responder_is_told_no_half_of_a_unit(store: Store) -> None:
    """What is set aside while a line is said is not told to who answers it, nor what belongs to it."""

    def play(tx: WriteTx) -> None:
        name = begun(tx, "one", CALL, OUTPUT, "two", broken=3)
        asked = changes.ask(tx, new_uuid(), name, Item("user", "hello"), terms(), 60, False).note
        assert isinstance(asked, changes.Asked)
        assert [said.content for said in asked.said] == ["one", "two"]
        assert seqs(tx, name) == [1, 4, 5]

    await store.database.write(play)


async def test_broken_reasoning_takes_what_it_leads_to(store: Store) -> None:
    """Reasoning goes with its result, whichever of the two is broken; a row of it goes whole; the rest stays."""
    reasoning = {"type": "reasoning"}

    def play(tx: WriteTx) -> None:
        for broken in (2, 3, 4):
            name = begun(tx, "one", reasoning, reasoning, "result", "two", broken=broken)
            thread = set_aside(tx, lock_thread(tx, name), [broken], terms())
            assert seqs(tx, name) == [1, 5]
            event = tx.staged[-1]
            assert (event.type, event.version) == ("thread.quarantined", thread.version)
            assert orjson.loads(event.data)["removed"] == [[2, 4]]
            assert set_aside(tx, thread, [1, 2, 3, 4, 5], terms()) == thread

    await store.database.write(play)


async def suspected(store: Store, guard: Warden, *found: tuple[Owned, list[int]]) -> None:
    """The warden has looked at these."""
    for name, numbers in found:
        guard.suspect(name, numbers)
    await asyncio.sleep(0)
    while guard._task is not None:
        await asyncio.gather(guard._task)


async def test_suspects_are_looked_at_again(store: Store) -> None:
    """What readers tell of is set aside if it is broken, once; what is sound, or gone, stays as it is."""
    name = (await store.database.write(lambda tx: begun(tx, "one", "two", "three", broken=2))).value
    metrics = Metrics()
    guard = Warden(store.database, terms(), Meter(metrics))
    guard.suspect(name, [2])  # before it began to listen: the next reader finds it again
    guard.start()
    gone = Owned(PROJECT, "ann", new_uuid())
    for _ in range(2):
        await suspected(store, guard, (name, [1, 2, 3, 9]), (name, [2]), (gone, [1]), (name, []))
        assert await store.database.read(seqs, name) == [1, 3]
        assert metrics.threads.removed.labels("corrupt")._value.get() == 1
    await guard.close()
    guard.suspect(name, [1])
    await asyncio.sleep(0)
    assert guard._task is None


async def test_suspects_are_bounded(store: Store, monkeypatch: Any) -> None:
    """While as many threads wait as may, others are left to their next readers."""
    monkeypatch.setattr(warden, "_SUSPECTS_MAX", 2)
    names = [(await store.database.write(lambda tx: begun(tx, "x", broken=1))).value for _ in range(3)]
    guard = Warden(store.database, terms(), Meter(Metrics()))
    guard.start()
    await suspected(store, guard, *((name, [1]) for name in names))
    left = [(await store.database.write(find_locked, name.key)).value for name in names]
    assert sorted(thread.message_count for thread in left if thread is not None) == [0, 0, 1]
    await guard.close()
