"""The heads of chains as part of a channel's snapshot."""

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.providers import statements
from sessioncast_server.providers.record import Use
from sessioncast_server.sessions.service import head_rows


def snapshot_heads(tx: ReadTx, project_id: str, audience: Audience, room: int) -> list[bytes]:
    """Heads of the chains that an audience wants, as JSON; at most one more than there is room for."""
    wishes = audience.filter
    if wishes.threads and not (wishes.tasks or wishes.sessions):
        return []
    ids = head_rows(tx, project_id, tasks=wishes.tasks, sessions=wishes.sessions, limit=room + 1)
    rows = tx.all(statements.BY_IDS, ids=ids) if ids else []
    return [json_bytes(Use(*row).resource()) for row in rows[: room + 1]]
