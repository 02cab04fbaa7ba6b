"""Whose a provider's id is: each is bound to one session, and with it to one project and one user."""

from typing import Any

from sessioncast_server.audit.service import record_line
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.problems import Problem, not_found
from sessioncast_server.providers import statements
from sessioncast_server.sessions.record import Record
from sessioncast_server.sessions.service import Visible
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_LOOKED_AT = 100
"""Projects that are looked at for an id that is to be the caller's."""


class SecurityViolation(Problem):
    """403: the session is another user's or project's, or the id another session's. It stands in the audit trail."""

    keeps = True


def check_user(tx: WriteTx, record: Record, user: str) -> None:
    """Let a session's own user on; the caller has locked the session, and written nothing yet.

    Raises:
        SecurityViolation: it is another's.
    """
    if record.user_id != user:
        raise _violation(tx, record, user, "user")


def check_project(tx: WriteTx, record: Record, project_id: str, user: str) -> None:
    """Let on who means a session of the project that it is in; as `check_user`.

    Raises:
        SecurityViolation: it is another project's.
    """
    if record.project_id != project_id:
        raise _violation(tx, record, user, "project", named=project_id)


def bind_id(tx: WriteTx, record: Record, provider_session_id: str, *, user: str, visible: Visible) -> None:
    """Bind an id to a session for good; as `check_user`.

    Raises:
        SecurityViolation: it is bound to another one, of this project or of one that the caller knows.
    """
    bound = _sessions_of(tx, provider_session_id)
    if (record.project_id, record.id) in bound:
        return
    for project_id, _ in bound:
        # What others have in projects that the caller does not know of is nobody's business, and no obstacle.
        if project_id != record.project_id and visible(project_id):
            raise _violation(tx, record, user, "project", provider_session_id=provider_session_id)
    row = tx.change(
        statements.BIND,
        project_id=record.project_id,
        provider_session_id=provider_session_id,
        session_id=record.id,
    )
    if row.session_id != record.id:
        raise _violation(tx, record, user, "session", provider_session_id=provider_session_id)


def check_resumed(tx: WriteTx, record: Record, provider_session_id: str, *, user: str, visible: Visible) -> None:
    """Let on who resumes an id of the session; as `check_user`.

    Raises:
        SecurityViolation: it is another session's that the caller may know of.
        Problem: 404, when nobody that the caller may know of has it.
    """
    bound = _sessions_of(tx, provider_session_id)
    if (record.project_id, record.id) in bound:
        return
    for project_id, _ in bound:
        if visible(project_id):
            what = "session" if project_id == record.project_id else "project"
            raise _violation(tx, record, user, what, provider_session_id=provider_session_id)
    raise not_found()


def _sessions_of(tx: ReadTx, provider_session_id: str) -> list[tuple[str, str]]:
    rows = tx.all(statements.BOUND, known_id=provider_session_id, limit=_LOOKED_AT)
    return [(row.project_id, row.session_id) for row in rows]


def _violation(tx: WriteTx, record: Record, user: str, what: str, **data: Any) -> SecurityViolation:
    ids = {"project_id": record.project_id, "session_id": record.id}
    record_line(tx, "security_violation", **ids, user=user, data={"what": what, **data})
    return SecurityViolation(403, Code.SECURITY_VIOLATION, texts.SECURITY)
