"""When the server itself fails while a session is started, the caller is told so in the promised words."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar, cast

import httpx2
import pytest
from starlette.testclient import TestClient

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import (
    CommitUnknownError,
    ConflictError,
    DatabaseError,
    LockTimeoutError,
    UnavailableError,
    UniqueError,
)
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.sessions.api import SessionsApi
from sessioncast_server.sessions.lookup import Lookups
from sessioncast_server.sessions.meter import Meter
from sessioncast_server.sessions.start import Terms
from sessioncast_server.web.endpoint import router, routes
from sessioncast_server.web.inputs import Limits
from support.api import SECRET, Api, bearer, problem
from support.cluster import make_schema
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import Postgres
from support.waiting import STALL_S, wait_until

T = TypeVar("T")

CREATE_FAILED = "Failed to create session. Please try again later."
UNAVAILABLE = "The server is currently unavailable. Please try again in a few minutes."
BUSY = "This session is currently being modified. Please try again later."
START = {"phase": "run", "model": {"name": "m"}}
_ENV = {
    "SESSIONCAST_JWT_SECRET": SECRET,
    "SESSIONCAST_LOCK_TIMEOUT_S": "0.3",
    "SESSIONCAST_WRITE_DEADLINE_S": str(STALL_S),
}


def check_failing(api: Api, task: str) -> None:
    """A start is `create_failed`; another change is `unavailable`: both may be tried again."""
    answer = api.post(f"/v1/tasks/{task}/sessions", START)
    document = problem(answer, 503, "create_failed")
    assert (document["detail"], document["retryable"]) == (CREATE_FAILED, True)
    assert answer.headers["retry-after"] == "1"
    answer = api.patch(f"/v1/tasks/{task}", {"title": "U"})
    assert problem(answer, 503, "unavailable")["detail"] == UNAVAILABLE
    assert answer.headers["retry-after"] == "1"


def check_recovering(api: Api, task: str) -> None:
    """The same start succeeds as soon as it can, and finds that the failed one left nothing."""
    answers: list[httpx2.Response] = []

    def starts() -> bool:
        answers.append(api.post(f"/v1/tasks/{task}/sessions", START))
        return answers[-1].status_code != 503

    wait_until(starts, "a start to succeed")
    assert api.ok(answers[-1], 201)["outcome"] == "created"


def test_a_file_that_takes_no_writes(tmp_path: Any) -> None:
    """While another program keeps the SQLite file locked starts are `create_failed`; then they succeed."""
    file = tmp_path / "locked.db"
    node = NodeProcess(
        tmp_path, port=free_port(), env=_ENV | {"SESSIONCAST_DATABASE_URL": f"sqlite:///{file}"}, arguments=()
    )
    node.start()
    try:
        api = Api(node.url, database="sqlite")
        with api.http:
            task = api.work().task
            other = sqlite3.connect(file, isolation_level=None)
            try:
                other.execute("BEGIN IMMEDIATE")
                check_failing(api, task)
                assert api.ok(api.get(f"/v1/tasks/{task}"), 200)["sessions"] == {}
                other.execute("ROLLBACK")
            finally:
                other.close()
            check_recovering(api, task)
    finally:
        node.stop()


def test_a_server_that_is_gone(own_postgres: Postgres, tmp_path: Any) -> None:
    """With PostgreSQL stopped starts are `create_failed`; once it is back they succeed."""
    env = _ENV | {"SESSIONCAST_DATABASE_URL": own_postgres.url}
    make_schema(own_postgres.url)
    node = NodeProcess(tmp_path, port=free_port(), env=env, arguments=())
    node.start()
    try:
        api = Api(node.url, database="postgresql")
        with api.http:
            task = api.work().task
            own_postgres.stop()
            check_failing(api, task)
            own_postgres.start()
            check_recovering(api, task)
    finally:
        node.kill()


class _FailingDatabase:
    """A store of which every write fails in one way."""

    def __init__(self, error: DatabaseError) -> None:
        self._error = error

    async def write(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Any:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (UnavailableError("full"), "create_failed", CREATE_FAILED),
        (LockTimeoutError("locked"), "session_being_modified", BUSY),
        (LockTimeoutError("locked", of="else"), "create_failed", CREATE_FAILED),
        (ConflictError("late"), "session_being_modified", BUSY),
        (UniqueError("ux_session_slot"), "session_being_modified", BUSY),
        (
            CommitUnknownError("lost"),
            "commit_unknown",
            "The outcome of the change is unknown. Repeat it with the same Idempotency-Key.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_unknown_outcome_is_not_called_a_failure(error: DatabaseError, code: str, detail: str) -> None:
    """A failure of the store is `create_failed`, unless it may have been a success or somebody is in the way."""
    database = cast("Database", _FailingDatabase(error))
    counted: list[str] = []
    mutator = Mutator(database, ttl_s=60, count=counted.append)
    table = SessionsApi(
        mutator,
        Reader(database, wait_s=1),
        cast("Lookups", None),  # nothing is looked up
        terms=Terms(frozenset(), lambda: True, lambda _: True),
        meter=Meter(Metrics()),
    ).endpoints()
    app = router(routes(table, authenticator=Authenticator(secret=SECRET), limits=Limits()))
    with TestClient(app) as client:
        path = "/v1/tasks/01234567-89ab-7def-8123-456789abcdef/sessions"
        answer = client.post(path, json=START, headers={"Authorization": bearer()})
    document = answer.json()
    status = 409 if detail == BUSY else 503
    assert (answer.status_code, document["code"], document["detail"]) == (status, code, detail)
    assert document["retryable"] is True
    assert answer.headers["retry-after"] == "1"
    assert len(counted) == 1
