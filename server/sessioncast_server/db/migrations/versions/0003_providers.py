"""Provider sessions: their chains and ids, turns, the audit trail, and project versions."""

import sqlalchemy as sa
from alembic import op

from sessioncast_server.db.types import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Only add: the previous release goes on running on this schema."""
    op.add_column("session", sa.Column("head_row_id", sa.String(36), nullable=True))
    op.create_index(
        "ix_task_milestone",
        "task",
        ["project_id", "milestone", "id"],
        sqlite_where=sa.text("milestone IS NOT NULL"),
        postgresql_where=sa.text("milestone IS NOT NULL"),
    )
    op.create_table(
        "provider_session",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=True),
        sa.Column("milestone", sa.String(200), nullable=True),
        sa.Column("provider_session_id", sa.String(200), nullable=False),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("id_created_at", UtcTime(), nullable=False),
        sa.Column("operation", sa.String(200), nullable=False),
        sa.Column("iteration", sa.BigInteger(), nullable=True),
        sa.Column("resumed_from", sa.String(200), nullable=True),
        sa.Column("fork", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("is_resumable", sa.Boolean(), nullable=False),
        sa.Column("resume_failure_count", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("turns", sa.BigInteger(), nullable=True),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        sa.Column("structure_fingerprint", sa.String(200), nullable=True),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("lease_s", sa.Float(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("last_used_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"]),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_provider_session_chain", "provider_session", ["session_id", "started_at", "id"])
    op.create_index(
        "ix_provider_session_task",
        "provider_session",
        ["task_id", "started_at", "id"],
        sqlite_where=sa.text("task_id IS NOT NULL"),
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )
    op.create_index(
        "ix_provider_session_totals",
        "provider_session",
        ["task_id", "tokens", "cached_tokens", "turns", "cost_nano"],
        sqlite_where=sa.text("task_id IS NOT NULL"),
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )
    op.create_index(
        "ix_provider_session_link",
        "provider_session",
        ["session_id", "provider_session_id", "proved", "started_at"],
    )
    op.create_index("ix_provider_session_project", "provider_session", ["project_id", "started_at", "id"])
    op.create_index(
        "ix_provider_session_milestone",
        "provider_session",
        ["project_id", "milestone"],
        sqlite_where=sa.text("milestone IS NOT NULL"),
        postgresql_where=sa.text("milestone IS NOT NULL"),
    )
    op.create_index(
        "ix_provider_session_open",
        "provider_session",
        ["id"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "provider_id",
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("provider_session_id", sa.String(200), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"]),
        sa.PrimaryKeyConstraint("project_id", "provider_session_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_provider_id", "provider_id", ["provider_session_id", "project_id"])
    op.create_table(
        "provider_structure",
        sa.Column("provider_session", sa.String(36), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("paths", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["provider_session"], ["provider_session.id"]),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"]),
        sa.PrimaryKeyConstraint("provider_session"),
    )
    op.create_index("ix_provider_structure_session_id", "provider_structure", ["session_id"])
    op.create_table(
        "turn",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("expects", sa.String(200), nullable=True),
        sa.Column("subject", sa.String(36), nullable=True),
        sa.Column("named", sa.Boolean(), nullable=False),
        sa.Column("lease_s", sa.Float(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_turn_place", "turn", ["key", "number"], unique=True)
    op.create_index("ix_turn_subject", "turn", ["subject"])
    op.create_table(
        "audit",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audit_page", "audit", ["project_id", "at", "id"])
    op.create_index("ix_audit_session", "audit", ["session_id", "at", "id"])
    op.create_index("ix_audit_user", "audit", ["project_id", "user_id", "at", "id"])
    op.create_table(
        "project_version",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("ai_session_id", sa.String(200), nullable=True),
        sa.Column("ai_session_created_at", UtcTime(), nullable=True),
        sa.Column("ai_session_last_used_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_project_version_number", "project_version", ["project_id", "number"], unique=True)
    op.create_index("ix_project_version_session", "project_version", ["session_id", "number"])
    op.create_index("ix_project_version_ai_session", "project_version", ["ai_session_id"])
