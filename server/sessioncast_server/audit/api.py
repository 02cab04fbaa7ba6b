"""The audit trail over HTTP."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from sessioncast_server.audit.service import line_resource, list_lines
from sessioncast_server.auth.principal import Scope
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.queries import ListQuery
from sessioncast_server.exchange.reader import Reader, View
from sessioncast_server.projects.service import get_project
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import resource_etag
from sessioncast_server.web.page import page_key, page_of
from sessioncast_shared.filters import is_uuid
from sessioncast_shared.providers import AuditEntry
from sessioncast_shared.resources import Page


class AuditQuery(ListQuery):
    """Parameters of the trail."""

    session: str | None = Field(None, description="only of this session")
    user: Annotated[str | None, Field(max_length=200, description="only what this user did")] = None


class AuditApi:
    """The endpoint of the audit trail."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        return [
            Endpoint(
                "GET",
                "/v1/projects/{project_id}/audit",
                self.list,
                "List a project's audit trail, newest first",
                Scope.SESSIONS_AUDIT,
                query=AuditQuery,
                answers={200: Page[AuditEntry], 304: None},
                tag="audit",
            )
        ]

    async def list(self, call: Call) -> Response:
        """GET of a page."""
        return await self._reader.show(call, _list, call.project(), call.query, page_key(call.query.after))


def _list(tx: ReadTx, project_id: str, query: AuditQuery, before: tuple[datetime, str] | None) -> View:
    get_project(tx, project_id)
    rows: list[Any] = []
    if query.session is None or is_uuid(query.session):
        session = None if query.session is None else query.session.lower()
        rows = list_lines(tx, project_id, limit=query.limit + 1, session_id=session, user=query.user, before=before)
    body = page_of(rows, query.limit, line_resource, at="at")
    # Lines are only added, and some without an event: the tag is the page's own.
    return View(project_id, resource_etag(len(rows), body), lambda: body)
