"""A session as one JSON download: itself, its chain, what it printed and what it used."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.database import Database
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.sessions.listing import with_lost_models
from sessioncast_server.sessions.output import output_page
from sessioncast_server.sessions.service import Visible, get_session
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import resource_etag

_PAGE = 1000

Uses = Callable[[ReadTx, str], dict[str, Any]]
"""`chain` and `usage` of a session; they are another feature's."""


class ExportApi:
    """The endpoint of downloads. Output is only ever appended, so pages read one after another are one document."""

    def __init__(self, database: Database, uses: Uses) -> None:
        self._database = database
        self._uses = uses

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        path, summary = "/v1/sessions/{session_id}/export", "Download a session, deleted or not"
        return [Endpoint("GET", path, self.export, summary, Scope.SESSIONS_READ, tag="sessions", answers={200: dict})]

    async def export(self, call: Call) -> Response:
        """GET: `{"session", "chain", "usage", "output"}`."""
        session_id = call.uuid("session_id")
        document, last, state = await self._database.read(_read, session_id, call.principal.may_see, self._uses)
        headers = state | {
            "Content-Disposition": f'attachment; filename="session-{session_id}.json"',
            "X-Request-Id": call.request_id,
            "Cache-Control": "no-store",
        }
        return StreamingResponse(self._pages(document, session_id, last), 200, headers, "application/json")

    async def _pages(self, document: bytes, session_id: str, last: int) -> AsyncIterator[bytes]:
        yield document[:-1] + b',"output":['
        after = 0
        while after < last:
            chunks = await self._database.read(output_page, session_id, after=after, limit=_PAGE, upto=last)
            if not chunks:  # purged meanwhile: a download that breaks off is seen, a shorter one is not
                raise UnavailableError("closed", f"output of {session_id} ended at {after}, not {last}")
            yield (b"," if after else b"") + json_bytes(chunks)[1:-1]
            after = chunks[-1]["seq"]
        yield b"]}"


def _read(tx: ReadTx, session_id: str, visible: Visible, uses: Uses) -> tuple[bytes, int, dict[str, str]]:
    record = get_session(tx, session_id, visible)
    (record,) = with_lost_models(tx, record.project_id, [record])
    document = {"session": record.resource(), **uses(tx, session_id)}
    body, head = json_bytes(document), head_of(tx, record.project_id)
    state = {"X-Position": f"{head.epoch}:{head.offset}", "ETag": resource_etag(record.version, body)}
    return body, record.output_seq, state
