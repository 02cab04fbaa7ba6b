"""Many at once: one live session, one winner, and a log that tells the same story as the tables."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

import httpx2
import psycopg
import pytest

from support.api import SECRET, Api, problem
from support.node import NodeFactory
from support.racing import (
    Crowd,
    mixed_changes,
    printing_while_replaced,
    starting_while_deleted,
    thirty_replacements,
    thirty_starts,
    twenty_replacers,
)


async def two_strategies(node_factory: NodeFactory, url: str, strategy: str) -> list[Api]:
    """Two nodes on one database: both lock tasks, none does, or the first one alone."""
    env = {
        "SESSIONCAST_DATABASE_URL": url,
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",
        "SESSIONCAST_REPLAY_MAX_BYTES": "1000000000",
        "SESSIONCAST_FLAGS_REFRESH_S": "3600",  # a node learns of a change when it is made through it
    }
    apis = [Api((await node_factory(env=env)).url, database="postgresql") for _ in range(2)]
    for api in {"pessimistic": [], "optimistic": apis, "mixed": apis[1:]}[strategy]:
        admin = api.acting(scopes=["admin"])
        path = "/v1/admin/flags/pessimistic_locking_enabled"
        admin.ok(admin.request("PUT", path, json={"state": "off"}), 200)
    return apis


@pytest.fixture(params=["pessimistic", "optimistic", "mixed"])
async def pair(
    request: pytest.FixtureRequest, node_factory: NodeFactory, migrated_postgres_url: str
) -> AsyncIterator[list[Api]]:
    """Two nodes on one PostgreSQL under a strategy."""
    apis = await two_strategies(node_factory, migrated_postgres_url, request.param)
    with ExitStack() as stack:
        for api in apis:
            stack.callback(api.http.close)
        yield apis


async def test_thirty_starts_make_one_session(api: Api) -> None:
    """Thirty concurrent starts of one phase, six times over: one session row, one `created`, 29 `existing`."""
    await thirty_starts(Crowd(api), api)


async def test_thirty_replacements_have_one_winner(api: Api) -> None:
    """Of thirty that confirm the same session with different models one replaces it, 29 are told it changed."""
    await thirty_replacements(Crowd(api), api)


@pytest.mark.parametrize("seed", range(2))
async def test_mixed_changes_stay_in_order(api: Api, seed: int) -> None:
    """Patches, output, replacements, starts and deletes at once: no 500, versions rise by one, the log is the state."""
    await mixed_changes(Crowd(api), api, seed)


def test_of_twenty_replacers_a_fresh_one_wins(api: Api) -> None:
    """Twenty in four processes, half of whom confirm what is gone: one of the others wins, and all are told exactly."""
    twenty_replacers([api])


async def test_nothing_is_printed_after_a_replacement(api: Api) -> None:
    """`session.replaced` tells the last output of the session; every acknowledged piece is there, none came later."""
    await printing_while_replaced([api])


async def test_starts_beside_deletions_leave_one(api: Api) -> None:
    """Ten deletions and ten starts at once: the deletions are 204, and at most one start makes a session."""
    await starting_while_deleted([api])


async def test_two_nodes_are_as_one(pair: list[Api]) -> None:
    """The same races, spread over two nodes on one PostgreSQL, end the same, whichever of them lock their tasks."""
    crowd, api = Crowd(*pair), pair[0]
    await thirty_starts(crowd, api, ["run"])
    await thirty_replacements(crowd, api)
    twenty_replacers(pair)
    await printing_while_replaced(pair)
    await starting_while_deleted(pair)
    await mixed_changes(crowd, api, 0, busy=True)


# SQLite has no row locks: one writer, one after another.
@pytest.mark.parametrize("locked", ["task", "session"])
def test_who_waits_too_long_is_told_to_try_again(hasty: tuple[Api, str], locked: str) -> None:
    """While a stranger keeps a row locked, changes to it are 409 `session_being_modified`; afterwards they succeed."""
    api, url = hasty
    work = api.work()
    session = work.session("m")
    path = f"/v1/sessions/{session['id']}"
    confirm = {"session_id": session["id"]}
    replace = {"phase": "run", "model": {"name": "n"}, "on_conflict": "replace", "confirm": confirm}
    requests: list[Callable[[], httpx2.Response]] = [lambda: api.post(work.path, replace)]
    if locked == "task":
        requests.append(lambda: api.patch(f"/v1/tasks/{work.task}", {"title": "U"}))
    else:
        requests += [
            lambda: api.patch(path, {"status": "running"}),
            lambda: api.post(f"{path}/output", {"chunks": [{"text": "x"}]}),
            lambda: api.delete(path),
        ]
    row = work.task if locked == "task" else session["id"]
    with psycopg.connect(url) as stranger:
        stranger.execute(f"SELECT id FROM {locked} WHERE id = %s FOR NO KEY UPDATE", [row])
        for request in requests:
            answer = request()
            document = problem(answer, 409, "session_being_modified")
            assert document["detail"] == "This session is currently being modified. Please try again later."
            assert document["retryable"] is True
            assert answer.headers["retry-after"] == "1"
    for request in (*requests[1:-1], requests[0], requests[-1]):  # what the replacement ends comes before it
        assert request().status_code in (200, 201, 204)
