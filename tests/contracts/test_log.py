"""The log reads back what was announced, for everybody and for every filter, within its bounds."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from sessioncast_server.channels.audience import EVERYBODY, Audience
from sessioncast_server.channels.janitor import trim
from sessioncast_server.channels.life import rotate, rotate_all
from sessioncast_server.channels.log import newest
from sessioncast_server.db.transaction import Staged, WriteTx
from sessioncast_server.projects.service import put_project
from sessioncast_server.sessions.output import Chunk, append_output
from sessioncast_server.sessions.service import Hold
from sessioncast_server.sessions.start import Start, Terms, start_session
from sessioncast_shared.filters import Filter
from support.store import PROJECT, Store, add


def _seen(project: str) -> bool:
    return project == PROJECT


def _start(tx: WriteTx, task_id: str, phase: str) -> str:
    wish, terms = Start(phase, {"name": "m"}), Terms(frozenset(), lambda: True, lambda _: True)
    return start_session(tx, task_id, wish, user="u", visible=_seen, terms=terms).session.id


async def _session(store: Store, *, phase: str = "run") -> tuple[str, str]:
    task_id = (await store.database.write(add, "T")).value
    return task_id, (await store.database.write(_start, task_id, phase)).value


async def _print(store: Store, session_id: str, *texts: str) -> None:
    chunks = [Chunk("log", text) for text in texts]
    await store.database.write(append_output, session_id, chunks, hold=Hold(), visible=_seen)


async def test_the_log_reads_what_was_announced(store: Store) -> None:
    """Every event read from the log is, byte for byte, the one that was announced, joined output included."""
    _, session_id = await _session(store)
    await _print(store, session_id, "one\n", "two \u2028 \ufffd\n")
    await _print(store, session_id, "three")
    announced = [body for announcement in store.announced for body in announcement.bodies]
    entries = await store.entries()
    assert [entry.body for entry in entries] == announced
    assert [entry.offset for entry in entries] == [1, 2, 3, 4]
    assert [entry.route for entry in entries] == [route for each in store.announced for route in each.routes]
    chunks = json.loads(entries[2].body)["data"]["chunks"]
    assert [(chunk["seq"], chunk["text"]) for chunk in chunks] == [(1, "one\n"), (2, "two \u2028 \ufffd\n")]


async def test_text_of_many_sessions_is_joined_to_the_right_events(store: Store) -> None:
    """Output of several sessions in one replay, between one another and next to chunks not asked for, is not mixed."""
    sessions = [(await _session(store, phase=phase))[1] for phase in ("plan", "run", "plan")]
    for number in range(3):
        for session_id in sessions:
            await _print(store, session_id, f"{session_id} {number}", "and more")
    entries = await store.entries(Audience(Filter.of(kinds=["output"])))
    last = await store.entries(Audience(Filter.of(sessions=sessions[:1], kinds=["output"])), after=entries[0].offset)
    told = [json.loads(entry.body) for entry in entries]
    expected = [f"{event['session_id']} {number}" for number in range(3) for event in told[:3]]
    assert [event["data"]["chunks"][0]["text"] for event in told] == expected
    assert [[chunk["seq"] for chunk in event["data"]["chunks"]] for event in told[::3]] == [[1, 2], [3, 4], [5, 6]]
    assert [json.loads(entry.body)["data"]["first"] for entry in last] == [3, 5]


async def test_a_filter_reads_its_events_only(store: Store) -> None:
    """A task covers its sessions, ids add up, kinds narrow, and the newest event is the last of them."""
    task, session = await _session(store)
    other_task, other_session = await _session(store, phase="plan")
    await _print(store, session, "x")
    cases: list[tuple[Filter, list[int]]] = [
        (Filter.of(tasks=[task]), [1, 2, 5]),
        (Filter.of(sessions=[session]), [2, 5]),
        (Filter.of(sessions=[session], tasks=[other_task]), [2, 3, 4, 5]),
        (Filter.of(kinds=["task"]), [1, 3]),
        (Filter.of(tasks=[task], kinds=["output"]), [5]),
        (Filter.of(sessions=[other_session], kinds=["output"]), []),
        (Filter.of(), [1, 2, 3, 4, 5]),
    ]
    for wishes, offsets in cases:
        audience = Audience(wishes)
        assert [entry.offset for entry in await store.entries(audience)] == offsets
        assert await store.database.read(newest, PROJECT, audience) == max(offsets, default=None)


@pytest.mark.parametrize(("limit", "size"), [(3, 1 << 30), (1000, 40_000), (1000, 1)])
async def test_a_page_ends_at_its_bound(store: Store, limit: int, size: int) -> None:
    """Page after page holds every event once; each is within its bounds, and says whether there is more."""
    _, session_id = await _session(store)
    for number in range(10):
        await _print(store, session_id, f"{number}" * 10_000)
    found: list[int] = []
    more = True
    while more:
        after = found[-1] if found else 0
        stretch = await store.database.read(store.log.read, PROJECT, EVERYBODY, after=after, limit=limit, size=size)
        assert 0 < len(stretch.entries) <= limit
        assert sum(len(entry.body) for entry in stretch.entries[:-1]) <= size + 1000
        found += [entry.offset for entry in stretch.entries]
        more = stretch.more
    assert found == list(range(1, 13))


async def test_events_of_two_channels_do_not_mix(store: Store) -> None:
    """One transaction may append to two channels; each has offsets of its own."""
    await store.database.write(put_project, "q")

    def both(tx: WriteTx) -> None:
        for channel in ("q", PROJECT, "q"):
            tx.emit(Staged(channel, "task.updated", "task", tx.now, b'{"in":"%s"}' % channel.encode()))

    await store.database.write(both)
    assert [(each.channel, each.first, each.last) for each in store.announced] == [(PROJECT, 1, 1), ("q", 1, 2)]
    assert [json.loads(entry.body)["data"] for entry in await store.entries()] == [{"in": PROJECT}]


async def test_what_retention_took_is_below_the_floor(store: Store) -> None:
    """Old events go in batches, the newest stay whatever their age, and the floor tells from where on."""
    for _ in range(10):
        await store.database.write(add, "T")
    trim_now = partial(trim, keep_s=3600, keep_events=4, batch=5)
    assert (await store.database.write(trim_now, PROJECT)).value == 0

    def trim_tomorrow(tx: WriteTx) -> int:
        tx.now = datetime.now(UTC) + timedelta(days=1)
        return trim_now(tx, PROJECT)

    assert [(await store.database.write(trim_tomorrow)).value for _ in range(3)] == [5, 1, 0]
    assert (await store.head()).floor == 6
    assert [entry.offset for entry in await store.entries()] == [7, 8, 9, 10]


async def test_a_new_epoch_begins_at_the_head(store: Store) -> None:
    """A rotation changes the epoch once, keeps the offset and lets nothing older be replayed."""
    await store.database.write(add, "T")
    old = await store.head()
    assert (await store.database.write(rotate, PROJECT, old.epoch)).value
    assert not (await store.database.write(rotate, PROJECT, old.epoch)).value
    new = await store.head()
    assert (new.epoch != old.epoch, new.offset, new.floor) == (True, 1, 1)
    await store.database.write(put_project, "q")
    assert (await store.database.write(rotate_all)).value == 2
    assert (await store.head()).epoch != new.epoch
