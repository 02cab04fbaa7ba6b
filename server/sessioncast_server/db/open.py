"""The database that a URL names."""

from collections.abc import Callable

from sessioncast_server.db.database import Appender, Database
from sessioncast_server.db.pools import PoolMeter, PoolName, unmetered
from sessioncast_server.db.sqlite import SqliteDatabase, path_of
from sessioncast_server.db.sqlite_writer import GroupLimits
from sessioncast_server.settings import Settings


def open_database(
    settings: Settings, appender: Appender, *, meter: Callable[[PoolName], PoolMeter] = unmetered
) -> Database:
    """The database of the settings, not connected yet.

    Args:
        meter: makes what hears of a pool of connections.
    """
    if settings.is_sqlite:
        return SqliteDatabase(
            path_of(settings.database_url),
            appender,
            limits=GroupLimits(
                functions=settings.write_group_max,
                seconds=settings.write_group_ms / 1000,
            ),
            read_threads=settings.read_threads,
            queue_max=settings.write_queue_max,
            write_deadline_s=settings.write_deadline_s,
            read_deadline_s=settings.read_deadline_s,
            busy_s=settings.lock_timeout_s,
            pool_wait_s=settings.pool_wait_s,
            meter=meter,
        )
    from sessioncast_server.db.postgres import PostgresDatabase  # noqa: PLC0415  its driver takes its time to load

    return PostgresDatabase(
        settings.database_url,
        appender,
        write_threads=settings.postgres_write_threads,
        read_threads=settings.postgres_read_threads,
        queue_max=settings.write_queue_max,
        lock_timeout_s=settings.lock_timeout_s,
        write_deadline_s=settings.write_deadline_s,
        read_deadline_s=settings.read_deadline_s,
        connect_timeout_s=settings.postgres_connect_timeout_s,
        pool_wait_s=settings.pool_wait_s,
        idle_s=settings.postgres_idle_s,
        meter=meter,
    )
