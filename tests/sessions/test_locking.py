"""Two ways to be first, what they count, and who waits for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import psycopg
import pytest

from sessioncast_shared.texts import BUSY
from support.api import SECRET, Api, problem
from support.bulk import metric
from support.node import NodeFactory
from support.racing import Crowd
from support.waiting import until

_FLAGS = "/v1/admin/flags"


def _switch(api: Api, flag: str, state: str) -> None:
    admin = api.acting(scopes=["admin"])
    admin.ok(admin.request("PUT", f"{_FLAGS}/{flag}", json={"state": state}), 200)


@asynccontextmanager
async def _alone(node_factory: NodeFactory, url: str, **env: str) -> AsyncIterator[Api]:
    given = {"SESSIONCAST_DATABASE_URL": url, "SESSIONCAST_JWT_SECRET": SECRET, **env}
    api = Api((await node_factory(env=given)).url, database="postgresql")
    with api.http:
        yield api


@pytest.fixture
async def alone(node_factory: NodeFactory, migrated_postgres_url: str) -> AsyncIterator[Api]:
    """A node whose database nobody else has."""
    async with _alone(node_factory, migrated_postgres_url) as api:
        yield api


@pytest.fixture
async def hasty_alone(node_factory: NodeFactory, migrated_postgres_url: str) -> AsyncIterator[Api]:
    """The same for one that waits half a second for locks."""
    async with _alone(node_factory, migrated_postgres_url, SESSIONCAST_LOCK_TIMEOUT_S="0.5") as api:
        yield api


class Counts:
    """What a node counted since this was made.

    Args:
        strategy: whose starts are counted.
    """

    def __init__(self, api: Api, strategy: str) -> None:
        self._api = api
        self._strategy = strategy
        self._before = self._all()

    def _all(self) -> dict[str, float]:
        names = {
            "acquired": "lock_acquisitions_total",
            "waited": "lock_wait_seconds_count",
            "waited_s": "lock_wait_seconds_sum",
            "contended": "lock_contention_total",
            "given up": "lock_timeouts_total",
            "replaced": "session_replacement_seconds_count",
        }
        return {word: metric(self._api, f"sessioncast_{name}", strategy=self._strategy) for word, name in names.items()}

    def since(self) -> dict[str, float]:
        """By word; times are left out."""
        now = self._all()
        return {word: now[word] - self._before[word] for word in now if word != "waited_s"}

    def waited_s(self) -> float:
        """Seconds."""
        return self._all()["waited_s"] - self._before["waited_s"]


def _waiting(connection: psycopg.Connection[tuple[int]]) -> int:
    """How many connections to the same database wait for a lock, or have just been refused it."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND (wait_event_type = 'Lock' OR query = 'ROLLBACK')"
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


async def _asked(api: Api, path: str, body: object) -> httpx2.Response:
    (answer,) = await Crowd(api).all([("POST", path, body)])
    return answer


async def test_who_waits_for_one_task_keeps_nobody_from_another(alone: Api, migrated_postgres_url: str) -> None:
    """While twenty starts wait for a task that a stranger keeps, twenty others get theirs, on four connections."""
    kept, counts = alone.work(), Counts(alone, "pessimistic")
    others = [alone.work() for _ in range(20)]
    body = {"phase": "run", "model": {"name": "m"}}
    with psycopg.connect(migrated_postgres_url) as stranger:
        stranger.execute("SELECT id FROM task WHERE id = %s FOR NO KEY UPDATE", [kept.task])
        waiting = asyncio.create_task(Crowd(alone).all([("POST", kept.path, body)] * 20))
        with psycopg.connect(migrated_postgres_url, autocommit=True) as watcher:
            await until(lambda: _waiting(watcher) > 0, "somebody to wait for the row")
        served = await Crowd(alone).all([("POST", work.path, body) for work in others])
        assert {answer.status_code for answer in served} == {201}
        assert not waiting.done()
    answers = await waiting
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert counts.since()["acquired"] == counts.since()["waited"] == 40
    assert counts.since()["contended"] >= 4
    assert counts.waited_s() > 0
    assert counts.since()["given up"] == 0


async def test_a_given_up_wait_is_counted(hasty_alone: Api, migrated_postgres_url: str) -> None:
    """A start that waited in vain is 409 BUSY and one time-out."""
    work, counts = hasty_alone.work(), Counts(hasty_alone, "pessimistic")
    with psycopg.connect(migrated_postgres_url) as stranger:
        stranger.execute("SELECT id FROM task WHERE id = %s FOR NO KEY UPDATE", [work.task])
        answer = await _asked(hasty_alone, work.path, {"phase": "run", "model": {"name": "m"}})
    document = problem(answer, 409, "session_being_modified")
    assert (document["detail"], document["retryable"], answer.headers["retry-after"]) == (BUSY, True, "1")
    assert {word: count for word, count in counts.since().items() if count} == {"given up": 1}


async def test_a_wait_without_the_tasks_lock_is_counted_apart(hasty_alone: Api, migrated_postgres_url: str) -> None:
    """Optimistic: a replacement whose session somebody keeps is given up too, as a time-out of that strategy."""
    _switch(hasty_alone, "pessimistic_locking_enabled", "off")
    work = hasty_alone.work()
    live = work.session("m")
    counts, other = Counts(hasty_alone, "optimistic"), Counts(hasty_alone, "pessimistic")
    wish = {"on_conflict": "restart", "confirm": {"session_id": live["id"]}}
    with psycopg.connect(migrated_postgres_url) as stranger:
        stranger.execute("SELECT id FROM session WHERE id = %s FOR NO KEY UPDATE", [live["id"]])
        answer = await _asked(hasty_alone, work.path, {"phase": live["phase"], "model": live["model"], **wish})
    problem(answer, 409, "session_being_modified")
    assert (counts.since()["given up"], other.since()["given up"]) == (1, 0)


@pytest.mark.parametrize("often", [2, 1000], ids=["twice", "always"])
async def test_the_late_one_is_run_again_a_few_times(alone: Api, migrated_postgres_url: str, often: int) -> None:
    """Optimistic: a replacement that others outrun is tried again, and when that does not end, 409 BUSY."""
    _switch(alone, "pessimistic_locking_enabled", "off")
    work = alone.work()
    live = work.session("m")
    counts = Counts(alone, "optimistic")
    wish: dict[str, Any] = {"on_conflict": "replace", "confirm": {"session_id": live["id"]}}
    with psycopg.connect(migrated_postgres_url, autocommit=True) as faster:
        # What somebody does who is always faster: the row is not at the version any more that was read.
        faster.execute("CREATE SEQUENCE tries")
        faster.execute(
            "CREATE FUNCTION outrun() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN IF nextval('tries') <= {often} THEN RETURN NULL; END IF; RETURN NEW; END $$"
        )
        faster.execute(
            "CREATE TRIGGER outrun BEFORE UPDATE ON session FOR EACH ROW"
            " WHEN (NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION outrun()"
        )
        answer = work.start("n", **wish)
        counted = {word: count for word, count in counts.since().items() if count}
        if often == 2:
            assert alone.ok(answer, 201)["outcome"] == "replaced"
            assert counted == {"acquired": 1, "waited": 1, "contended": 1, "replaced": 1}
            return
        document = problem(answer, 409, "session_being_modified")
        assert (document["detail"], document["retryable"], answer.headers["retry-after"]) == (BUSY, True, "1")
        assert counted == {"given up": 1}
        assert len(work.events()) == 2
        faster.execute("DROP TRIGGER outrun ON session")
    assert alone.ok(work.start("n", **wish), 201)["outcome"] == "replaced"


async def test_every_replacement_is_counted_by_why(alone: Api) -> None:
    """A changed model, a minor change that is to count, a restart and the flag that came on are told apart."""

    def counted() -> dict[str, float]:
        reasons = ("model_changed", "model_minor_change", "restart", "single_session_enabled")
        name = "sessioncast_session_replacements_total"
        return {reason: metric(alone, name, reason=reason) for reason in reasons}

    work = alone.work()
    live = work.session("m")
    for on_conflict, model, params in (
        ("replace", "n", None),
        ("replace", "n", {"seed": 1}),
        ("restart", "n", {"seed": 1}),
    ):
        body = {
            "phase": "run",
            "model": {"name": model, **({"params": params} if params else {})},
            "on_conflict": on_conflict,
            "confirm": {"session_id": live["id"]},
            "treat_minor_as_change": True,
        }
        live = alone.ok(alone.post(work.path, body), 201)["session"]
    assert counted() == {"model_changed": 1, "model_minor_change": 1, "restart": 1, "single_session_enabled": 0}
    assert Counts(alone, "pessimistic")._before["replaced"] == 3
    _switch(alone, "single_session_enabled", "off")
    work.session("o")
    work.session("p")
    _switch(alone, "single_session_enabled", "on")
    assert counted() == {"model_changed": 1, "model_minor_change": 1, "restart": 1, "single_session_enabled": 2}


async def test_a_start_that_settles_a_place_counts_it(alone: Api, migrated_postgres_url: str) -> None:
    """A place that is settled by the next start in it, before the settling came, is counted as well."""
    work = alone.work()
    _switch(alone, "single_session_enabled", "off")
    work.session("m")
    newest = work.session("n")
    with psycopg.connect(migrated_postgres_url) as operator:  # on again, by one who settles nothing
        operator.execute("UPDATE flag SET percentage = 100 WHERE name = 'single_session_enabled'")
    answer = alone.ok(work.start("n"), 200)
    assert (answer["outcome"], answer["session"]["id"]) == ("existing", newest["id"])
    assert metric(alone, "sessioncast_session_replacements_total", reason="single_session_enabled") == 1


def test_the_fence_of_a_phase_outlives_its_sessions(api: Api) -> None:
    """After a restart the old session takes no fence at all, the new one its own; an older is 409, one ahead 422."""
    work = api.work()
    old = work.session("m")
    wish: dict[str, Any] = {"on_conflict": "restart", "confirm": {"session_id": old["id"]}}
    new = api.ok(work.start("m", **wish), 201)["session"]
    assert (old["fence"], new["fence"]) == (1, 2)

    def answer(session: dict[str, Any], fence: int) -> httpx2.Response:
        body = {"chunks": [{"text": "x"}]}
        return api.post(f"/v1/sessions/{session['id']}/output", body, headers={"X-Session-Fence": str(fence)})

    for fence in (1, 2, 3):
        assert problem(answer(old, fence), 409, "session_replaced")["replaced_by"] == new["id"]
    assert problem(answer(new, 1), 409, "fenced")["fence"] == 2
    problem(answer(new, 3), 422, "invalid")
    api.ok(answer(new, 2), 200)
    assert [event["type"] for event in work.events()[-2:]] == ["session.created", "session.output"]
