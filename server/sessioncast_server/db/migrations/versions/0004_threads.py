"""Threads: chat histories, their messages, and what was set aside of them."""

import sqlalchemy as sa
from alembic import op

from sessioncast_server.db.types import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Only add: the previous release goes on running on this schema."""
    op.create_table(
        "thread",
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("title", sa.String(200), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("message_seq", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("kept_from", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("last_activity_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ux_thread_owned", "thread", ["project_id", "user_id", "id"], unique=True)
    op.create_index("ix_thread_own", "thread", ["project_id", "user_id", "created_at", "key"])
    op.create_index("ix_thread_page", "thread", ["project_id", "created_at", "key"])
    op.create_index("ix_thread_id", "thread", ["id", "project_id"])
    op.create_table(
        "message",
        sa.Column("thread_key", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("leads", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["thread_key"], ["thread.key"]),
        sa.PrimaryKeyConstraint("thread_key", "seq"),
    )
    op.create_index("ux_message_id", "message", ["thread_key", "id"], unique=True)
    op.create_table(
        "message_call",
        sa.Column("thread_key", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("call", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["thread_key"], ["thread.key"]),
        sa.PrimaryKeyConstraint("thread_key", "seq", "call"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_message_call", "message_call", ["thread_key", "call"])
    op.create_table(
        "message_quarantine",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("thread_key", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("thread_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("found_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_message_quarantine_thread_key", "message_quarantine", ["thread_key"])
