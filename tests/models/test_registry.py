"""The registry in the store: what may start, what is marked, and in how many statements."""

from dataclasses import replace
from typing import Any

import pytest

from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.models import service
from sessioncast_server.problems import Problem
from sessioncast_server.projects.service import put_project
from sessioncast_server.sessions.availability import PAGE, mark_sessions
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import Hold, delete_session, get_session
from sessioncast_server.sessions.statements import INSERT, LIVE_OF_PROJECT
from support.store import PROJECT, Store, add

MODEL = "meta-llama/Llama-3"


async def _may_start(store: Store, name: str, project: str = PROJECT) -> bool:
    found: list[Problem] = []
    try:
        await store.database.write(service.check_model, project, name)
    except Problem as problem:
        found.append(problem)
    for refusal in found:
        assert (refusal.status, refusal.code, refusal.detail) == (422, "model_not_found", "Model Not Found")
        assert refusal.fields == {"model": name}
    return not found


async def _register(store: Store, name: str) -> bool:
    return (await store.database.write(service.register_model, PROJECT, name)).value[1]


async def _delete(store: Store, name: str) -> bool:
    return (await store.database.write(service.delete_model, PROJECT, name)).value


def fill(tx: WriteTx, count: int, *, model: str, first: int = 0) -> None:
    """Live sessions of a model, each without a slot, in a task of their own."""
    task = add(tx, "T")
    rows = [
        Record(
            id=f"01a1fbf3-0652-7a1a-8470-{first + number:012x}",
            project_id=PROJECT,
            task_id=task,
            phase="run",
            debug=False,
            slot=None,
            model_name=model,
            model=f'{{"name":"{model}"}}',
            agent="null",
            user_id="ann",
            status="running",
            version=1,
            fence=1,
            metadata="{}",
            output_seq=0,
            last_activity_at=tx.now,
            head_provider_session_id=None,
            created_at=tx.now,
            updated_at=tx.now,
        ).columns()
        for number in range(count)
    ]
    tx.many(INSERT, rows)


def _live(tx: ReadTx) -> list[Record]:
    return [Record(*row) for row in tx.all(LIVE_OF_PROJECT, project_id=PROJECT, limit=100_000)]


async def test_any_model_may_start_until_one_is_registered(store: Store) -> None:
    """With an empty registry every name will do; with one model in it only that; a deleted one never."""
    assert await _may_start(store, "a")
    assert await _register(store, "a")
    assert [await _may_start(store, name) for name in ("a", "b", "A")] == [True, False, False]
    assert await _register(store, "b")
    assert await _delete(store, "a")
    assert [await _may_start(store, name) for name in ("a", "b", "c")] == [False, True, False]
    assert await _delete(store, "b")
    assert [await _may_start(store, name) for name in ("a", "b", "c")] == [False, False, True]
    assert await _register(store, "a")
    assert [await _may_start(store, name) for name in ("a", "b", "c")] == [True, False, False]


async def test_projects_have_registries_of_their_own(store: Store) -> None:
    """What one project registers or deletes is nothing to another."""
    await store.database.write(put_project, "other")
    await _register(store, "a")
    await _delete(store, "a")
    await _register(store, "b")
    assert [await _may_start(store, name, "other") for name in ("a", "b", "c")] == [True, True, True]
    assert await store.database.read(service.list_models, "other", limit=10) == []
    assert await store.database.read(service.missing_models, "other", ["a"]) == set()


async def test_asking_takes_one_statement(store: Store) -> None:
    """Whether a model may start is one statement, whatever is registered (and one for its turn on PostgreSQL); so is
    which of many were deleted.
    """
    asking = 1 if store.is_sqlite else 2
    assert (await store.database.write(service.check_model, PROJECT, "a")).effort.statements == asking
    for name in ("a", "b", "c"):
        await _register(store, name)
    await _delete(store, "b")
    assert (await store.database.write(service.check_model, PROJECT, "a")).effort.statements == asking
    names = [f"m-{number}" for number in range(300)]
    written = await store.database.write(service.missing_models, PROJECT, ["a", "b", *names])
    assert (written.value, written.effort.statements) == ({"b"}, 1)
    assert (await store.database.write(service.missing_models, PROJECT, [])).effort.statements == 0


async def test_registering_and_deleting_may_be_repeated(store: Store) -> None:
    """Each is one event with a version more; repeated it is none; what never was registered cannot be deleted."""
    with pytest.raises(Problem) as caught:
        await _delete(store, MODEL)
    assert caught.value.status == 404
    done = [await _register(store, MODEL), await _register(store, MODEL)]
    done += [await _delete(store, MODEL), await _delete(store, MODEL)]
    done += [await _register(store, MODEL), await _register(store, MODEL)]
    assert done == [True, False] * 3
    told = [(announced.first, announced.last) for announced in store.announced]
    assert told == [(1, 1), (2, 2), (3, 3)]
    rows = await store.database.read(service.list_models, PROJECT, limit=10)
    assert [(row.name, row.version, row.deleted_at) for row in rows] == [(MODEL, 3, None)]
    assert rows[0].created_at < rows[0].updated_at


async def test_lists_go_by_name(store: Store) -> None:
    """Pages hold the registered ones, by name, and the next begins after the last of the one before."""
    for name in ("c", "a", "e", "b", "d"):
        await _register(store, name)
    await _delete(store, "c")

    async def page(**where: Any) -> list[str]:
        return [row.name for row in await store.database.read(service.list_models, PROJECT, **where)]

    assert await page(limit=10) == ["a", "b", "d", "e"]
    assert await page(limit=2) == ["a", "b"]
    assert await page(limit=2, before="b") == ["d", "e"]
    assert await page(limit=2, before="e") == []


@pytest.mark.parametrize(
    ("count", "statements"), [(0, 1), (1, 2), (PAGE - 1, 2), (PAGE, 3), (2 * PAGE, 5), (2 * PAGE + 1, 6)]
)
async def test_a_page_of_sessions_takes_two_statements(store: Store, count: int, statements: int) -> None:
    """One to lock and one to change 500 sessions, and one more to find that none are left after a full page."""
    write = store.database.write
    await write(fill, count, model=MODEL)
    await write(fill, 2, model="other", first=count)
    before = len(await store.entries())
    appending = (2 if store.is_sqlite else 1) if count else 0
    written = await write(mark_sessions, PROJECT, MODEL, available=False)
    assert (written.value, written.effort.statements - appending) == (count, statements)
    told = (await store.entries())[before:]
    assert [entry.route.session_id for entry in told] == [f"01a1fbf3-0652-7a1a-8470-{n:012x}" for n in range(count)]
    again = await write(mark_sessions, PROJECT, MODEL, available=False)
    assert (again.value, again.effort.statements, again.position) == (0, 1, None)


async def test_only_live_sessions_of_the_model_are_marked(store: Store) -> None:
    """Each gets a version more and the time of the change; others, and what is soft-deleted, stay as they are."""
    write = store.database.write
    await write(fill, 3, model=MODEL)
    await write(fill, 2, model="other", first=3)
    gone = (await store.database.read(_live))[0]
    await write(delete_session, gone.id, hold=Hold(), user="ann", visible=lambda _: True)
    before = {record.id: record for record in await store.database.read(_live)}
    await write(mark_sessions, PROJECT, MODEL, available=False)
    marked = [record for record in await store.database.read(_live) if record != before[record.id]]
    assert [record.model_name for record in marked] == [MODEL, MODEL]
    for record in marked:
        old = before[record.id]
        assert record == replace(old, model_available=False, version=2, updated_at=record.updated_at)
        assert record.updated_at > old.updated_at
    assert not (await store.database.read(get_session, gone.id, lambda _: True)).updated_at > marked[0].updated_at
    await write(mark_sessions, PROJECT, MODEL, available=True)
    assert {(record.version, record.model_available) for record in await store.database.read(_live)} == {
        (1, True), (3, True)
    }  # fmt: skip
