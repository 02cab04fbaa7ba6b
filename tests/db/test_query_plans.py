"""Every statement of a lookup or a replay finds its rows by an index, on both databases."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import psycopg
import pytest

from sessioncast_server.audit import service as audit
from sessioncast_server.channels import janitor, log
from sessioncast_server.channels.audience import EVERYBODY, Audience
from sessioncast_server.db.sqlite import path_of
from sessioncast_server.db.statement import Statement
from sessioncast_server.exchange import once
from sessioncast_server.models import service as models
from sessioncast_server.projects import service as projects
from sessioncast_server.providers import statements as providers
from sessioncast_server.sessions import availability, output
from sessioncast_server.sessions import statements as sessions
from sessioncast_server.tasks import service as tasks
from sessioncast_server.threads import statements as threads
from sessioncast_server.turns import service as turns
from sessioncast_server.versions import service as versions
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter
from support.plans import Plan, postgres_generic_plan, postgres_plan, sqlite_plan

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_ID = "01a1fbf3-0652-7a1a-8470-4cdb3c91977b"
_IDS = [_ID, _ID.replace("0", "f")]
_PAGE = {"before_at": _AT, "before_id": _ID, "limit": 50}

Case = tuple[str, Statement, dict[str, Any], set[str]]
"""Name, statement, parameters, and the indexes of which one must be searched."""


def _audiences() -> Iterator[Case]:
    """Replay and poll for every shape of a filter."""
    wishes: dict[str, Any] = {"tasks": _IDS, "sessions": _IDS, "threads": _IDS}
    shapes = [shape for size in range(4) for shape in combinations(wishes, size)]
    for shape in shapes:
        for kinds in (None, [Kind.SESSION]):
            chosen = {name: wishes[name] for name in shape}
            audience = Audience(Filter.of(**chosen, kinds=kinds))
            indexes = {f"ix_event_{name.removesuffix('s')}" for name in shape} or {"event_pkey", "ix_event_kind"}
            params = {"channel": "p-7", "after": 10, "upto": 2**62, **audience.ids}
            name = f"{'+'.join(shape) or 'project'}{' of kinds' if kinds else ''}"
            # A replay reads a short range next to the head: the primary key serves it whatever the filter.
            yield f"replay {name}", audience.statement(log._EVENT), params | {"limit": 301}, indexes | {"event_pkey"}
    yield (
        "replay everybody",
        EVERYBODY.statement(log._EVENT),
        {"channel": "p-7", "after": 1, "upto": 9, "limit": 9},
        {"event_pkey"},
    )


def _sessions() -> Iterator[Case]:
    names = ("phase", "debug", "before_id", "live")
    for size in range(5):
        for conditions in combinations(names, size):
            params = {"task_id": _ID, "phase": "run", "debug": False, **_PAGE}
            used = {"task_id", "limit", *conditions} | ({"before_at"} if "before_id" in conditions else set())
            chosen = {name: value for name, value in params.items() if name in used}
            statement = sessions.list_of(frozenset(conditions))
            yield f"sessions by {conditions}", statement, chosen, {"ix_session_lookup"}
    pkey = {"session_pkey", "sqlite_autoindex_session_1"}
    yield "session", sessions.GET, {"session_id": _ID}, pkey
    yield "session, locked", sessions.LOCK.waiting, {"session_id": _ID}, pkey
    yield "slot", sessions.SLOT.plain, {"slot": "s"}, {"ux_session_slot"}
    yield "slot, locked", sessions.SLOT.waiting, {"slot": "s"}, {"ux_session_slot"}
    where = {"task_id": _ID, "phase": "run", "debug": False}
    yield "occupants", sessions.OCCUPANTS, {**where, "slot": "s"}, {"ix_session_slotless", "ux_session_slot"}
    yield "slotless of tasks", sessions.SLOTLESS_OF_TASKS, {"ids": _IDS}, {"ix_session_slotless"}
    yield "slotless of a task, locked", sessions.LOCK_SLOTLESS, {"task_id": _ID}, {"ix_session_slotless"}
    yield "all slotless", sessions.TASKS_WITH_SLOTLESS, {"after": "", "limit": 9}, {"ix_session_slotless"}
    yield "slots", sessions.IN_SLOTS, {"slots": ["s"]}, {"ux_session_slot"}
    yield "sessions by ids", sessions.BY_IDS, {"ids": _IDS, "limit": 9}, pkey
    yield "live of project", sessions.LIVE_OF_PROJECT, {"project_id": "p-7", "limit": 5001}, {"ix_session_live"}
    lookups = {"ix_session_lookup"}
    yield "live of tasks", sessions.LIVE_OF_TASKS, {"ids": _IDS, "limit": 9}, lookups
    page = {"session_id": _ID, "after": 3, "upto": 2**62, "limit": 9}
    yield "output", sessions.OUTPUT, page, {"session_output_pkey"}
    yield "output of events", output.RANGES, {"ranges": f'[["{_ID}", 1, 9]]'}, {"session_output_pkey"}


def _others() -> Iterator[Case]:
    task_key = {"task_pkey", "sqlite_autoindex_task_1"}
    yield "task", tasks._GET, {"task_id": _ID}, task_key
    yield "tasks by ids", tasks._BY_ID, {"ids": _IDS, "limit": 9}, task_key
    for (titled, paged), statement in tasks._LISTS.items():
        params = {"project_id": "p-7", "limit": 9} | ({"title": "T"} if titled else {}) | (_PAGE if paged else {})
        yield f"tasks {titled} {paged}", statement, params, {"ix_task_title"} if titled else {"ix_task_page"}
    yield "project", projects._GET, {"project_id": "p-7"}, {"project_pkey", "sqlite_autoindex_project_1"}
    channel_key = {"channel_pkey", "sqlite_autoindex_channel_1"}
    yield "head", log._HEAD, {"channel": "p-7"}, channel_key
    yield "heads", log._HEADS, {"channels": ["p-7", "p-8"]}, channel_key
    window = {"channel": "p-7", "floor": 0, "upto": 10, "before": _AT}
    yield "what may go", janitor._OLD, window, {"event_pkey"}
    yield "going", janitor._DELETE, {"channel": "p-7", "upto": 10}, {"event_pkey"}
    key = {"idempotency_key_pkey", "sqlite_autoindex_idempotency_key_1"}
    yield "kept answer", once._KEPT, {"key": "k"}, key
    yield "expired answer", once._FORGET, {"key": "k", "before": _AT}, key | {"ix_idempotency_key_age"}
    yield "expired answers", once._EXPIRE, {"before": _AT, "limit": 9}, {"ix_idempotency_key_age"}


_NEWEST = [
    ("kind",),
    *(shape for size in (1, 2, 3) for shape in combinations(("task_id", "session_id", "thread_id"), size)),
]


def _models() -> Iterator[Case]:
    key = {"model_pkey", "sqlite_autoindex_model_1"}
    it = {"project_id": "p-7", "name": "m-7"}
    yield "model", models._GET, it, key
    yield "whether a model may start", models._CHECK, it, key
    yield "changed model", models._UPDATE, it | {"new_version": 2, "new_updated_at": _AT, "new_deleted_at": None}, key
    yield "models", models._FIRST_PAGE, {"project_id": "p-7", "limit": 9}, key
    yield "models after one", models._NEXT_PAGE, {"project_id": "p-7", "limit": 9, "before": "m-7"}, key
    yield "deleted models", models._DELETED, {"project_id": "p-7", "names": ["m-7", "m-8"]}, key
    page = {"project_id": "p-7", "model_name": "m", "available": False, "after": _ID, "limit": 9}
    yield "sessions of a model", availability.LOCK_PAGE, page, {"ix_session_live"}
    marking = {"ids": _IDS, "available": False, "at": _AT}
    yield "sessions to mark", availability.MARK, marking, {"session_pkey", "sqlite_autoindex_session_1"}


def _providers() -> Iterator[Case]:
    key = {"provider_session_pkey", "sqlite_autoindex_provider_session_1"}
    yield "provider session", providers.GET, {"use_id": _ID}, key
    yield "provider sessions by ids", providers.BY_IDS, {"ids": _IDS}, key
    yield "changed provider session", providers.RENEW, {"use_id": _ID}, key | {"ix_provider_session_open"}
    chain = {"ix_provider_session_chain"}
    yield "last start", providers.NEWEST_START, {"session_id": _ID}, chain
    link = {"ix_provider_session_link"}
    yield "link", providers.LINK, {"session_id": _ID, "linked_id": "A", "but": _ID}, link
    yield "leases", providers.LEASES, {"after": "", "limit": 9}, {"ix_provider_session_open"}
    id_key = {"ix_provider_id", "provider_id_pkey"}
    yield "bound ids", providers.BOUND, {"known_id": "A", "limit": 9}, id_key
    structure = {"provider_structure_pkey", "sqlite_autoindex_provider_structure_1"}
    yield "structure", providers.STRUCTURE, {"use_id": _ID}, structure
    passed = {"ix_provider_structure_session_id"}
    yield "passed structures", providers.DROP_PASSED, {"session_id": _ID, "but": _ID}, passed
    scopes: dict[str, tuple[dict[str, Any], set[str]]] = {
        "session": ({"session_id": _ID}, chain | link),
        "task": ({"task_id": _ID}, {"ix_provider_session_task", "ix_provider_session_totals"}),
        "project": ({"project_id": "p-7"}, {"ix_provider_session_project"}),
        "milestone": (
            {"project_id": "p-7", "milestone": "m"},
            {"ix_provider_session_task", "ix_provider_session_totals"},
        ),
    }
    further = {"after_at": _AT, "after_id": _ID}
    for scope, (ids, indexes) in scopes.items():
        covering = {"ix_provider_session_totals"} if scope in {"task", "milestone"} else indexes
        yield f"sums of a {scope}", providers.SUMS[scope], ids, covering
        for paged in (False, True):
            params = ids | {"limit": 9} | (further if paged else {})
            yield f"page of a {scope} {paged}", providers.PAGES[scope, paged], params, indexes
    heads = {"limit": 9}
    yield "heads of project", sessions.HEADS_OF_PROJECT, heads | {"project_id": "p-7"}, {"ix_session_live"}
    yield "heads of tasks", sessions.HEADS_OF_TASKS, heads | {"ids": _IDS}, {"ix_session_lookup"}


def _around_providers() -> Iterator[Case]:
    place, turn_key = {"ux_turn_place"}, {"turn_pkey", "sqlite_autoindex_turn_1"}
    yield "first of a queue", turns._FIRST, {"of_key": "k"}, place
    yield "own place", turns._OWN, {"of_key": "k", "place_id": _ID}, place | turn_key
    yield "end of a queue", turns._END, {"of_key": "k"}, place
    yield "places before", turns._COUNT_BEFORE, {"of_key": "k", "number": 7}, place
    yield "released turn", turns._RELEASE, {"of_subject": _ID}, {"ix_turn_subject"}
    yield "places ahead", turns._AHEAD, {"ids": _IDS}, place | turn_key
    yield "renewed places", turns._RENEW, {"ids": _IDS}, turn_key
    versions_of = {"ix_project_version_session"}
    yield "following version", versions._FOLLOWING, {"session_id": _ID}, versions_of
    yield "latest version", versions._LATEST, {"project_id": "p-7"}, {"ux_project_version_number"}
    yield "newest line", audit._NEWEST_AT, {"session_id": _ID}, {"ix_audit_session"}
    lines = {"project_id": "p-7", "limit": 9}
    for name, more in (("session_id", {"ix_audit_session"}), ("user_id", {"ix_audit_user"}), (None, set())):
        wanted = {name: _ID} if name else {}
        statement = audit.page_of_lines(frozenset(wanted))
        yield f"lines by {name}", statement, lines | wanted, more | {"ix_audit_page"}


def _threads() -> Iterator[Case]:
    of_thread, number = {"message_pkey", "sqlite_autoindex_message_1"}, {"of_key": _ID}
    by_key = {"thread_pkey", "sqlite_autoindex_thread_1"}
    yield "thread", threads.GET, number, by_key
    paged = {"before_at": _AT, "before_key": _ID}
    own, page = {"ix_thread_own", "ux_thread_owned"}, {"project_id": "p-7", "limit": 9}
    yield "threads", threads.page(frozenset()), page, {"ix_thread_page"}
    yield "further threads", threads.page(frozenset({"before_key"})), page | paged, {"ix_thread_page"}
    yield "own threads", threads.page(frozenset({"user_id"})), page | {"user_id": "u-7"}, own
    further = threads.page(frozenset({"user_id", "before_key"}))
    yield "own further threads", further, page | paged | {"user_id": "u-7"}, own | {"ix_thread_page"}
    ids = {"project_id": "p-7", "ids": _IDS, "limit": 9}
    yield "threads of ids", threads.ALL_OF_IDS, ids, {"ix_thread_id", "ux_thread_owned"}
    yield "own threads of ids", threads.OWN_OF_IDS, ids | {"user_id": "u-7"}, own | {"ix_thread_id"}
    yield "messages up", threads.READ_UP, number | {"after": 7, "limit": 9}, of_thread
    yield "messages down", threads.READ_DOWN, number | {"before": 7, "kept_from": 1, "limit": 9}, of_thread
    yield "messages by id", threads.BY_IDS, number | {"ids": _IDS}, {"ux_message_id"} | of_thread
    yield "cut", threads.CUT, number | {"kept_from": 1, "skip": 3}, of_thread
    yield "message after", threads.AFTER, number | {"after": 7}, of_thread
    yield "message before", threads.BEFORE, number | {"before": 7}, of_thread
    calls = {"message_call_pkey", "ix_message_call", "message_call_PRIMARY"}
    yield "calls after", threads.CALLS_AFTER, number | {"cut": 7}, calls


CASES = [*_audiences(), *_sessions(), *_others(), *_models(), *_providers(), *_around_providers(), *_threads()]

_FILL = """
INSERT INTO project (id, created_at) SELECT 'p-' || n, {now} FROM {numbers};
INSERT INTO channel (project_id, epoch, head, floor) SELECT 'p-' || n, 'e', 500, 0 FROM {numbers};
INSERT INTO task (id, project_id, title, metadata, version, created_at, updated_at)
    SELECT 't-' || n, 'p-' || (n % 20), 'T' || (n % 7), '{{}}', 1, {now}, {now} FROM {numbers};
INSERT INTO session (id, project_id, task_id, phase, debug, slot, model_name, model, agent, user_id, status, version,
        fence, metadata, output_seq, last_activity_at, created_at, updated_at, deleted_at)
    SELECT 's-' || n, 'p-' || (n % 500), 't-' || n, 'run', {false}, 't-' || n, 'm', '{{}}', 'null', 'u', 'pending', 1,
        1, '{{}}', 0, {now}, {now}, {now}, CASE WHEN n % 2 = 0 THEN {now} END FROM {numbers};
INSERT INTO event (project_id, "offset", type, kind, at, task_id, session_id, data)
    SELECT 'p-' || (n % 20), n, 'session.updated', CASE WHEN n % 3 = 0 THEN 'output' ELSE 'session' END, {now},
        't-' || (n % 100), 's-' || (n % 300), '{{}}' FROM {numbers};
INSERT INTO session_output (session_id, seq, stream, text, at)
    SELECT 's-' || (n % 100), n, 'stdout', 'x', {now} FROM {numbers};
INSERT INTO model (project_id, name, version, created_at, updated_at)
    SELECT 'p-' || (n % 500), 'm-' || n, 1, {now}, {now} FROM {numbers};
INSERT INTO provider_session (id, project_id, session_id, task_id, milestone, provider_session_id, proved,
        id_created_at, operation, fork, fence, is_resumable, resume_failure_count, model_name, agent, state, lease_s,
        renewals, started_at, last_used_at)
    SELECT 'u-' || n, 'p-' || (n % 20), 's-' || (n % 300), CASE WHEN n % 5 > 0 THEN 't-' || (n % 300) END,
        CASE WHEN n % 5 = 0 THEN 'm' END, 'i-' || n, {true}, {now}, 'x', {false}, 1, {true}, 0, 'm', 'null',
        CASE WHEN n % 50 = 0 THEN 'open' ELSE 'ended' END, 60, 1, {now}, {now} FROM {numbers};
INSERT INTO provider_id (project_id, provider_session_id, session_id)
    SELECT 'p-' || (n % 20), 'i-' || n, 's-' || (n % 300) FROM {numbers};
INSERT INTO provider_structure (provider_session, session_id, paths)
    SELECT 'u-' || n, 's-' || (n % 300), '{{}}' FROM {numbers};
INSERT INTO turn (id, key, number, user_id, granted, named, lease_s, renewals, subject, created_at)
    SELECT 'w-' || n, 'k-' || (n % 100), n, 'u', {false}, {false}, 9, 0, 'u-' || n, {now} FROM {numbers};
INSERT INTO project_version (id, project_id, number, session_id, created_at)
    SELECT 'v-' || n, 'p-' || (n % 20), n, 's-' || (n % 300), {now} FROM {numbers};
INSERT INTO audit (id, at, project_id, session_id, user_id, action, data)
    SELECT 'a-' || n, {now}, 'p-' || (n % 20), 's-' || (n % 300), 'u-' || (n % 9), 'x', '{{}}' FROM {numbers};
INSERT INTO thread (key, id, project_id, user_id, version, message_seq, message_count, kept_from, created_at,
        last_activity_at)
    SELECT 'h-' || n, 'i-' || n, 'p-' || (n % 20), 'u-' || (n % 9), 1, 30, 30, 1, {now}, {now} FROM {numbers};
INSERT INTO message (thread_key, seq, id, body, checksum, leads)
    SELECT 'h-' || (n % 100), n, 'm-' || n, '', 0, {false} FROM {numbers};
INSERT INTO message_call (thread_key, seq, call) SELECT 'h-' || (n % 100), n, 'c-' || n FROM {numbers};
INSERT INTO idempotency_key (id, body_digest, created_at) SELECT 'k-' || n, '', {now} FROM {numbers};
"""


@pytest.fixture
def sqlite_filled(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """A SQLite file with some rows, analysed."""
    numbers = "(WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 2999) SELECT n FROM n)"
    with closing(sqlite3.connect(path_of(sqlite_url))) as connection:
        now = "'2026-01-01T00:00:00.000000Z'"
        connection.executescript(_FILL.format(now=now, false="0", true="1", numbers=numbers))
        yield connection


@pytest.fixture
def postgres_filled(migrated_postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A PostgreSQL database with some rows, analysed."""
    with psycopg.connect(migrated_postgres_url, autocommit=True) as connection:
        numbers = "generate_series(0, 2999) AS numbers(n)"
        for statement in _FILL.format(now="now()", false="false", true="true", numbers=numbers).split(";"):
            connection.execute(statement.encode())
        connection.execute("ANALYZE")
        connection.execute("SET enable_seqscan = off")
        yield connection


def _wrong(cases: list[tuple[Case, Plan]]) -> list[str]:
    return [
        f"{name}: {plan.text}" for (name, _, _, indexes), plan in cases if plan.scanned or not (plan.indexes & indexes)
    ]


def _not_stepping(plan_of: Callable[[Statement, dict[str, Any]], Plan]) -> list[str]:
    """Shapes whose newest event is not found by one step per value in the index of its column, and by that alone."""
    wrong = []
    for columns in _NEWEST:
        lists = dict.fromkeys(columns, _IDS)
        plan = plan_of(log.newest_of(columns), {"channel": "p-7", "kinds": list(Kind), **lists})
        indexes = {f"ix_event_{column.removesuffix('_id')}" for column in columns}
        if plan.scanned or plan.indexes != indexes or "SORT" in plan.text.upper() or "TEMP B-TREE" in plan.text:
            wrong.append(f"{columns}: {plan.text}")
    return wrong


@pytest.mark.parametrize("analysed", [False, True], ids=["unanalysed", "analysed"])
def test_the_newest_event_is_a_step_in_an_index_on_sqlite(sqlite_filled: sqlite3.Connection, *, analysed: bool) -> None:
    """The newest event of ids or kinds is found without a walk over the log and without sorting, for every shape."""
    if analysed:
        sqlite_filled.execute("ANALYZE")
    assert _not_stepping(lambda statement, params: sqlite_plan(sqlite_filled, statement, params)) == []


@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
def test_the_newest_event_is_a_step_in_an_index_on_postgresql(
    postgres_filled: psycopg.Connection[Any], *, generic: bool
) -> None:
    """The same on PostgreSQL, planned for its values and, as a prepared statement comes to be, for any."""
    plan_of = postgres_generic_plan if generic else postgres_plan
    assert _not_stepping(lambda statement, params: plan_of(postgres_filled, statement, params)) == []


@pytest.mark.parametrize("analysed", [False, True], ids=["unanalysed", "analysed"])
def test_sqlite_searches_by_index(sqlite_filled: sqlite3.Connection, *, analysed: bool) -> None:
    """No statement reads a whole table on SQLite, with and without statistics."""
    if analysed:
        sqlite_filled.execute("ANALYZE")
    assert _wrong([(case, sqlite_plan(sqlite_filled, case[1], case[2])) for case in CASES]) == []


def test_postgresql_searches_by_index(postgres_filled: psycopg.Connection[Any]) -> None:
    """No statement has to read a whole table on PostgreSQL."""
    assert _wrong([(case, postgres_plan(postgres_filled, case[1], case[2])) for case in CASES]) == []
