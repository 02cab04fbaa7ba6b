"""The servers that other tests stand on."""

import os
import socket
from contextlib import closing

import psycopg
import pytest
import redis

from support import processes
from support.given import Given
from support.postgres import Postgres
from support.valkey import Valkey
from support.waiting import wait_until


def _listening(port: int) -> set[str]:
    """Addresses somebody listens on at this port, in /proc/net/tcp's and tcp6's hexadecimal."""
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as lines:
                rows += [line.split() for line in lines][1:]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}


def _ping(url: str) -> bool:
    with closing(redis.Redis.from_url(url, socket_timeout=5)) as client:
        return bool(client.ping())


def test_shared_valkey_answers(valkey: Given | Valkey) -> None:
    """The shared Valkey answers at its URL."""
    assert _ping(valkey.url)


def test_valkey_is_on_loopback_only(own_valkey: Valkey) -> None:
    """Nobody outside this machine reaches a test's Valkey."""
    assert _listening(own_valkey.port) == {"0100007F"}


def test_killed_valkey_comes_back_empty(own_valkey: Valkey) -> None:
    """A killed Valkey refuses connections, and started again it is at the same URL without its data."""
    with closing(redis.Redis.from_url(own_valkey.url)) as client:
        client.set("key", "value")
    own_valkey.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_valkey.port)).close()
    own_valkey.start()
    with closing(redis.Redis.from_url(own_valkey.url)) as client:
        assert client.get("key") is None


def test_frozen_valkey_is_silent_until_it_is_thawed(own_valkey: Valkey) -> None:
    """A frozen Valkey still takes connections but answers only after the thaw."""
    own_valkey.freeze()
    with socket.create_connection(("127.0.0.1", own_valkey.port), timeout=0.2) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(16)
        own_valkey.thaw()
        connection.settimeout(30)
        assert connection.recv(16) == b"+PONG\r\n"


def test_valkey_restarts_on_its_port(own_valkey: Valkey) -> None:
    """A restart is another process at the same URL."""
    before = own_valkey.pid
    own_valkey.restart()
    assert own_valkey.pid != before
    assert _ping(own_valkey.url)


def test_each_database_is_fresh(postgres_url: str, postgres: Given | Postgres) -> None:
    """A test's database is its own and empty."""
    assert postgres_url != postgres.url
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert tables.fetchone() == (0,)


def test_postgres_is_on_loopback_only(own_postgres: Postgres) -> None:
    """Nobody outside this machine reaches a test's PostgreSQL."""
    assert _listening(own_postgres.port) == {"0100007F"}


def test_killed_postgres_keeps_what_it_committed(own_postgres: Postgres) -> None:
    """A cluster killed with all its backends comes back on its port with every committed row."""
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        members = processes.family(own_postgres.pid)
        own_postgres.kill()
        assert len(members) > 1
        assert not any(map(processes.alive, members))
    own_postgres.start()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)


def test_own_postgres_is_durable(own_postgres: Postgres) -> None:
    """The cluster for tests of durability synchronises to disk."""
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_frozen_postgres_is_silent_until_it_is_thawed(own_postgres: Postgres) -> None:
    """In a frozen cluster new connections and open sessions stand still, and go on after the thaw."""
    ssl_request = bytes.fromhex("0000000804d2162f")  # PostgreSQL, «Message Formats»; answered by one byte
    with closing(psycopg.connect(own_postgres.url, autocommit=True)) as session:
        own_postgres.freeze()
        session.pgconn.send_query(b"SELECT 1")
        with socket.create_connection(("127.0.0.1", own_postgres.port), timeout=0.2) as connection:
            connection.sendall(ssl_request)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert not _answered(session)
            own_postgres.thaw()
            connection.settimeout(30)
            assert connection.recv(1) in (b"N", b"S")
        wait_until(lambda: _answered(session), "the answer after the thaw")


def test_stopped_server_leaves_no_process(own_postgres: Postgres) -> None:
    """A stop is orderly and leaves nothing behind."""
    members = processes.family(own_postgres.pid)
    assert own_postgres.stop() == 0
    assert not any(map(processes.alive, members))
    with pytest.raises(RuntimeError, match="not running"):
        _ = own_postgres.pid


def _answered(connection: psycopg.Connection) -> bool:
    connection.pgconn.consume_input()
    return not connection.pgconn.is_busy()
