"""Alembic's environment: the connection is handed over by `migrate.py`."""

from alembic import context

from sessioncast_server.schema import METADATA


def _run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=METADATA, compare_type=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
