"""A database that is away: chats are answered all the same, and say that it is not kept; then they go on as before."""

import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sessioncast_server.db.migrate import migrate
from support.api import problem
from support.chains import figures
from support.chat import Talk, kept, not_kept
from support.chatnode import House, Stored, housed
from support.postgres import Postgres
from support.waiting import wait_until

HASTY: dict[str, Any] = {
    "SESSIONCAST_LOCK_TIMEOUT_S": "2",
    "SESSIONCAST_WRITE_DEADLINE_S": "4",
    "SESSIONCAST_POOL_WAIT_S": "4",
    "SESSIONCAST_WAITER_LEASE_S": "5",
}
"""Settings of a node that waits for its database for some seconds only."""


def degraded(house: House) -> float:
    """Exchanges that were not kept, by the node's metrics."""
    return figures(house.api).get(("thread_exchanges_total", "degraded"), 0)


def spoken(talk: Talk, *lines: str) -> list[tuple[str, str]]:
    """What a thread holds after these lines were answered one after another by `chatresponders.slow`."""
    return [
        line
        for number, said in enumerate(lines)
        for line in (("user", said), ("assistant", f"heard {said}, after {2 * number}"))
    ]


def test_postgres_away(own_postgres: Postgres, tmp_path: Path) -> None:
    """Killed in the middle of an answer, and still away before the next line: both are answered with a warning, the
    first with its context. Back again, the same key finishes the exchange without doubling the line, and the thread
    goes on; what was said meanwhile is not in it."""
    migrate(own_postgres.url)
    with housed(tmp_path, own_postgres.url, responder="slow", **HASTY) as house:
        talk = house.talk()
        house.go("one", "three", "four")
        talk.say("one")
        second = house.asked(talk, "two", key="k")
        own_postgres.kill()
        house.go("two")
        assert not_kept(second.result(60)) == "heard two, after 2"
        assert not_kept(talk.send("three")) == "heard three, without memory"
        problem(talk.api.get(talk.path), 503, "unavailable")
        own_postgres.start()
        assert talk.say("two", key="k") == "heard two, after 2"
        assert talk.say("two", key="k") == "heard two, after 2"
        assert talk.say("four") == "heard four, after 4"
        assert talk.lines() == spoken(talk, "one", "two", "four")
        assert degraded(house) == 2
        assert house.stored.places() == 0
        assert "heard" not in house.log()


def test_postgres_standing_still(own_postgres: Postgres, tmp_path: Path) -> None:
    """A database that takes connections and says nothing is away, too: after its deadline the line is answered."""
    migrate(own_postgres.url)
    with housed(tmp_path, own_postgres.url, responder="slow", **HASTY) as house:
        talk = house.talk()
        house.go()
        talk.say("one")
        own_postgres.freeze()
        assert not_kept(talk.send("two")) == "heard two, without memory"
        own_postgres.thaw()
        assert talk.say("three") == "heard three, after 2"
        assert talk.lines() == spoken(talk, "one", "three")


@contextmanager
def held(stored: Stored) -> Iterator[None]:
    """Somebody else writes to the file, and does not end."""
    connection = sqlite3.connect(stored.file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@contextmanager
def unwritable(house: House) -> Iterator[None]:
    """The node's files cannot be written to where they are long: its log is short, the write-ahead log is not."""
    wal = Path(f"{house.stored.file}-wal").stat().st_size
    log = house.node.log.stat().st_size
    assert wal > 2 * log + 100_000
    before = resource.prlimit(house.node.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(house.node.pid, resource.RLIMIT_FSIZE, (wal - 50_000, before[1]))
    try:
        yield
    finally:
        resource.prlimit(house.node.pid, resource.RLIMIT_FSIZE, before)


def test_postgres_away_while_a_line_waits(own_postgres: Postgres, tmp_path: Path) -> None:
    """A line that waits for its turn when the database goes is answered without memory, like one that comes then."""
    migrate(own_postgres.url)
    with housed(tmp_path, own_postgres.url, responder="slow", **HASTY) as house:
        house.go("two")
        talk = house.talk().made()
        talk.run()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(talk.send, "two")
            wait_until(lambda: house.stored.places() == 2, "it to wait")
            own_postgres.kill()
            assert not_kept(answer.result(60)) == "heard two, without memory"


def test_sqlite_away(sqlite_url: str, tmp_path: Path) -> None:
    """A file that another program holds, and a disk that takes no more: a line is answered without memory, one that is
    being answered with it; afterwards the thread goes on, and the same key finishes the exchange."""
    with housed(tmp_path, sqlite_url, responder="slow", **HASTY) as house:
        talk = house.talk()
        house.go("one", "held", "full", "three", "five")
        talk.say("one")
        talk.beside().appended("x" * 200_000)  # the write-ahead log is long
        for number, (name, away) in enumerate((("held", held(house.stored)), ("full", unwritable(house)))):
            line = f"line {name}"
            answer = house.asked(talk, line, key=name)
            with away:
                house.go(line)
                wanted = f"heard {line}, after {2 + 2 * number}"
                assert not_kept(answer.result(60)) == wanted
                assert not_kept(talk.send(name)) == f"heard {name}, without memory"
            assert kept(talk.send(line, key=name)) == wanted
            assert degraded(house) == 2 * (number + 1)
        assert talk.say("five") == "heard five, after 6"
        assert talk.lines() == spoken(talk, "one", "line held", "line full", "five")
        assert house.stored.places() == 0
