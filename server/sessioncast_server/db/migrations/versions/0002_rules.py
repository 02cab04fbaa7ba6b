"""The session rules: registered models, flags, and what sessions need for both."""

import sqlalchemy as sa
from alembic import op

from sessioncast_server.db.types import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Only add: the previous release goes on running on this schema."""
    op.create_table(
        "model",
        sa.Column("project_id", sa.String(63), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("deleted_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )
    op.create_table(
        "flag",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("percentage", sa.Float(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("session", sa.Column("model_available", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_index(
        "ix_session_slotless",
        "session",
        ["task_id", "phase", "debug"],
        sqlite_where=sa.text("slot IS NULL AND deleted_at IS NULL"),
        postgresql_where=sa.text("slot IS NULL AND deleted_at IS NULL"),
    )
