"""Sessions as part of a channel's snapshot, and the ids a filter may name."""

from collections.abc import Iterable

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.sessions import statements
from sessioncast_server.sessions.listing import with_lost_models
from sessioncast_server.sessions.record import Record


def snapshot_sessions(tx: ReadTx, project_id: str, audience: Audience, room: int) -> list[bytes]:
    """Sessions that an audience wants, as JSON; at most one more than there is room for.

    Live ones; a session that the filter names is shown also when it was deleted, for its end is part of its state.
    """
    wishes, limit = audience.filter, room + 1
    if wishes.whole_project:
        rows = tx.all(statements.LIVE_OF_PROJECT, project_id=project_id, limit=limit)
    else:
        rows = tx.all(statements.LIVE_OF_TASKS, ids=list(wishes.tasks), limit=limit) if wishes.tasks else []
        if wishes.sessions:
            rows += tx.all(statements.BY_IDS, ids=list(wishes.sessions), limit=limit)
    records = list({row.id: Record(*row) for row in rows}.values())[:limit]
    return [record.json() for record in with_lost_models(tx, project_id, records)]


def sessions_of_project(tx: ReadTx, project_id: str, ids: Iterable[str]) -> set[str]:
    """Those of the ids that are sessions of the project."""
    wanted = list(ids)
    rows = tx.all(statements.BY_IDS, ids=wanted, limit=len(wanted)) if wanted else []
    return {row.id for row in rows if row.project_id == project_id}
