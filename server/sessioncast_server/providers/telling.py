"""What is told of provider sessions: events, and lines of the audit trail."""

from typing import Any

from sessioncast_server.audit.service import record_line
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.totals import sum_up
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import session_event
from sessioncast_shared.events import EventType


def tell(tx: WriteTx, type_: EventType, record: Record, use: Use, **more: Any) -> None:
    """Stage an event with the whole provider session, and the head that the session has since."""
    data = {**use.resource(), "head_provider_session_id": record.head_provider_session_id, **more}
    tx.emit(session_event(type_, record, at=tx.now, data=json_bytes(data)))


def tell_with_totals(tx: WriteTx, type_: EventType, record: Record, use: Use) -> None:
    """As `tell`, with the new totals of its task; the caller has locked the task, so that none is left out."""
    totals = None if use.task_id is None else sum_up(tx, "task", task_id=use.task_id).totals()
    tell(tx, type_, record, use, totals=totals)


def note_attempt(tx: WriteTx, action: str, record: Record, use: Use, user: str | None, **more: Any) -> None:
    """A line of the trail about an attempt to resume."""
    data: dict[str, Any] = {
        "provider_session": use.id,
        "provider_session_id": use.provider_session_id,
        "operation": use.operation,
    }
    data |= {"resumed_from": use.resumed_from, "fork": use.fork, "fence": use.fence, **more}
    record_line(tx, action, project_id=record.project_id, session_id=record.id, user=user, data=data)
