"""Nodes for chats, on a database that tests may look into, and responders of the tests' own."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from sessioncast_server.db.migrate import migrate
from sessioncast_server.threads.rules import Owned
from support.api import SECRET, Api
from support.chat import Talk
from support.node import NodeProcess
from support.ports import free_port
from support.postgres import fresh_database
from support.serving import LIVELY
from support.threads import CALM
from support.waiting import wait_until

_RESPONDERS = Path(__file__).with_name("chatresponders.py")


class Stored:
    """A database, looked into and changed behind the server's back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = url.partition(":")[0]

    @property
    def file(self) -> Path:
        """The file of SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    def run(self, sql: str, *params: Any) -> list[Any]:
        """Rows of a statement whose parameters are written `?`, committed."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.file, timeout=60, isolation_level=None)
            try:
                return connection.execute(sql, params).fetchall()
            finally:
                connection.close()
        with psycopg.connect(self.url, autocommit=True) as postgres:
            cursor = postgres.execute(sql.replace("?", "%s").encode(), params)
            return cursor.fetchall() if cursor.description else []

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """A statement once for each row of parameters, in one commit."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.file, timeout=60)
            with connection:
                connection.executemany(sql, rows)
            connection.close()
            return
        with psycopg.connect(self.url) as postgres, postgres.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s").encode(), rows)

    def age(self, key: str, hours: float) -> None:
        """Let a thread be older by so many hours."""
        back = "strftime('%Y-%m-%dT%H:%M:%f000Z', {0}, ?)" if self.kind == "sqlite" else "{0} + CAST(? AS interval)"
        parts = ", ".join(f"{name} = {back.format(name)}" for name in ("created_at", "last_activity_at"))
        ago = f"-{hours} hours"
        changed = self.run(f"UPDATE thread SET {parts} WHERE key = ? RETURNING key", ago, ago, key)
        assert len(changed) == 1

    def places(self) -> int:
        """Places in all queues: of who waits, and of who has a turn."""
        return int(self.run("SELECT count(*) FROM turn")[0][0])


def key_of(talk: Talk, user: str = "ann") -> str:
    """The key of a user's thread in the tables."""
    return Owned(talk.project, user, talk.id).key


@dataclass
class House:
    """Nodes on one migrated database.

    Attributes:
        folder: where they work, and find the responders.
        env: of each.
    """

    folder: Path
    stored: Stored
    env: dict[str, str]
    nodes: list[NodeProcess] = field(default_factory=list)
    apis: list[Api] = field(default_factory=list)

    @property
    def api(self) -> Api:
        """Requests with all rights to the first node."""
        return self.apis[0]

    @property
    def node(self) -> NodeProcess:
        """The first node."""
        return self.nodes[0]

    def talk(self) -> Talk:
        """A thread that is not there yet, in a new project, asked for at the first node."""
        return Talk.begin(self.api)

    def asked(self, talk: Talk, line: str, *, key: str | None = None) -> "Future[httpx2.Response]":
        """The coming answer to a line that `chatresponders.slow` has begun to answer."""
        began = self.folder / f"began-{line}"
        began.unlink(missing_ok=True)
        future: Future[httpx2.Response] = Future()

        def send() -> None:
            try:
                future.set_result(talk.send(line, key=key))
            except BaseException as error:  # noqa: BLE001  whoever asks for the answer is told
                future.set_exception(error)

        threading.Thread(target=send, daemon=True).start()
        wait_until(lambda: began.exists() or future.done(), f"the responder to hear of {line}")
        assert not future.done(), future.result().text
        return future

    def go(self, *lines: str) -> None:
        """Let `chatresponders.slow` go on with these lines; without any: with all."""
        for name in [f"go-{line}" for line in lines] or ["go"]:
            (self.folder / name).touch()

    def log(self) -> str:
        """What the nodes printed."""
        return "".join(node.log.read_text(errors="replace") for node in self.nodes)


@contextmanager
def house_of(request: pytest.FixtureRequest, factory: pytest.TempPathFactory, kind: str, **how: Any) -> Iterator[House]:
    """Nodes on a new database: one on `sqlite` or `postgresql`, two on `two` or, with Redis between them, `redis`."""
    folder = factory.mktemp("house")
    if kind == "sqlite":
        url = f"sqlite:///{folder}/x.db"
        migrate(url)
        with housed(folder, url, **how) as found:
            yield found
        return
    redis = request.getfixturevalue("valkey").url if kind == "redis" else None
    with fresh_database(request.getfixturevalue("postgres").url) as url:
        migrate(url)
        with housed(folder, url, nodes=1 if kind == "postgresql" else 2, redis=redis, **how) as found:
            yield found


@contextmanager
def housed(
    folder: Path, url: str, *, nodes: int = 1, redis: str | None = None, responder: str | None = None, **env: str
) -> Iterator[House]:
    """So many lively nodes that check tokens, and are patient with each other; killed at the end.

    Args:
        url: of a migrated database.
        responder: a function of `chatresponders`.
    """
    given = {
        **LIVELY,
        **CALM,
        "SESSIONCAST_JWT_SECRET": SECRET,
        "SESSIONCAST_REPLAY_MAX_EVENTS": "1000000",  # tests read the log whole
        "SESSIONCAST_DATABASE_URL": url,
        **({"SESSIONCAST_REDIS_URL": redis} if redis else {}),
        **({"SESSIONCAST_RESPONDER": f"chatresponders:{responder}"} if responder else {}),
        **env,
    }
    (folder / _RESPONDERS.name).write_text(_RESPONDERS.read_text())
    house = House(folder, Stored(url), given)
    with ExitStack() as stack:
        for _ in range(nodes):
            node = NodeProcess(folder, port=free_port(), env=given, arguments=())
            house.nodes.append(stack.enter_context(node))
            api = Api(node.url, database=house.stored.kind)
            stack.enter_context(api.http)
            house.apis.append(api)
        yield house
