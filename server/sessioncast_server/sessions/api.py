"""Sessions over HTTP."""

import time
from typing import Any

from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator, respond
from sessioncast_server.exchange.queries import ReadQuery
from sessioncast_server.exchange.reader import Reader, View, resource_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem, problem_of
from sessioncast_server.sessions import requests, service
from sessioncast_server.sessions.listing import with_lost_models
from sessioncast_server.sessions.lookup import Lookups
from sessioncast_server.sessions.meter import Meter
from sessioncast_server.sessions.outcomes import outcome_body, outcome_status
from sessioncast_server.sessions.output import Chunk, append_output, output_page
from sessioncast_server.sessions.start import Start, Terms, start_session
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import if_match_version, resource_etag
from sessioncast_server.web.inputs import fence_of
from sessioncast_shared import resources, texts
from sessioncast_shared.codes import Code

_HOLD_HEADERS = {
    "If-Match": "versions that the change may meet",
    "X-Session-Fence": "the holder's fence; an old one is refused",
}


class SessionsApi:
    """The endpoints of sessions."""

    def __init__(self, mutator: Mutator, reader: Reader, lookups: Lookups, *, terms: Terms, meter: Meter) -> None:
        self._mutator = mutator
        self._reader = reader
        self._lookups = lookups
        self._terms = terms
        self._meter = meter

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        of_task, one = "/v1/tasks/{task_id}/sessions", "/v1/sessions/{session_id}"
        output = f"{one}/output"
        read, write = Scope.SESSIONS_READ, Scope.SESSIONS_WRITE
        start_answers = {200: resources.StartOutcome, 201: resources.StartOutcome}
        sessions_page, output_page = resources.Page[resources.Session], resources.Page[resources.OutputChunk]

        def endpoint(method: str, path: str, handler: Any, summary: str, **rest: Any) -> Endpoint:
            scope = read if method == "GET" else write
            return Endpoint(method, path, handler, summary, scope, tag="sessions", **rest)

        return [
            endpoint("POST", of_task, self.start, "Start a session", body=requests.StartSession, answers=start_answers),
            endpoint(
                "GET",
                of_task,
                self.list,
                "List a task's live sessions, newest first",
                query=requests.SessionsQuery,
                answers={200: sessions_page, 304: None},
            ),
            endpoint(
                "GET",
                one,
                self.get,
                "Show a session, deleted or not",
                query=ReadQuery,
                answers={200: resources.Session, 304: None},
            ),
            endpoint(
                "PATCH",
                one,
                self.patch,
                "Change a session",
                body=requests.PatchSession,
                answers={200: resources.Session},
                headers=_HOLD_HEADERS,
            ),
            endpoint("DELETE", one, self.delete, "Delete a session", answers={204: None}, headers=_HOLD_HEADERS),
            endpoint(
                "POST",
                output,
                self.append,
                "Append output",
                body=requests.AppendOutput,
                answers={200: resources.OutputRange},
                headers=_HOLD_HEADERS,
            ),
            endpoint(
                "GET",
                output,
                self.output,
                "Read output",
                query=requests.OutputQuery,
                answers={200: output_page, 304: None},
            ),
        ]

    async def start(self, call: Call) -> Response:
        """POST: 201 `created` or `replaced`, 200 `existing`."""
        body: requests.StartSession = call.body
        wish = Start(
            phase=body.phase.value,
            model=body.model.model_dump(exclude_none=True),
            agent=body.agent,
            debug=body.debug,
            metadata=body.metadata,
            on_conflict=body.on_conflict,
            confirmed_id=None if body.confirm is None else requests.canonical_id(body.confirm.session_id),
            treat_minor_as_change=body.treat_minor_as_change,
        )
        principal, began = call.principal, time.monotonic()
        try:
            written = await self._mutator.apply(
                call, "", _start, call.uuid("task_id"), wish, principal.sub, principal.may_see, self._terms
            )
        except DatabaseError as error:
            self._meter.failed(error, locks=self._terms.locks())
            raise _create_failed(error) from error
        if written.value.note is not None:  # it was made now, not told again
            self._meter.started(written.value.note, written.effort, time.monotonic() - began)
        return respond(call, written)

    async def list(self, call: Call) -> Response:
        """GET of a task's sessions."""
        return await self._lookups.show(call)

    async def get(self, call: Call) -> Response:
        """GET of one."""
        return await self._reader.show(call, _get, call.uuid("session_id"), call.principal.may_see)

    async def patch(self, call: Call) -> Response:
        """PATCH."""
        changes = call.body.model_dump(exclude_unset=True)
        return await self._mutator.run(
            call, _patch, call.uuid("session_id"), changes, _hold(call), call.principal.may_see
        )

    async def delete(self, call: Call) -> Response:
        """DELETE: 204, also again."""
        principal = call.principal
        return await self._mutator.run(
            call, _delete, call.uuid("session_id"), _hold(call), principal.sub, principal.may_see
        )

    async def append(self, call: Call) -> Response:
        """POST of output; NUL becomes U+FFFD."""
        chunks = [Chunk(chunk.stream, chunk.text.replace("\0", "\ufffd")) for chunk in call.body.chunks]
        return await self._mutator.run(
            call, _append, call.uuid("session_id"), chunks, _hold(call), call.principal.may_see
        )

    async def output(self, call: Call) -> Response:
        """GET of output after a `seq`."""
        return await self._reader.show(call, _output, call.uuid("session_id"), call.query, call.principal.may_see)


def _create_failed(error: DatabaseError) -> Exception:
    """Any failure of the server's own while a session is started, unless it may be there or somebody is in the way."""
    if problem_of(error).code in (Code.COMMIT_UNKNOWN, Code.SESSION_BUSY):
        return error
    return Problem(503, Code.CREATE_FAILED, texts.CREATE_FAILED, retry_after=1)


def _hold(call: Call) -> service.Hold:
    headers = call.request.headers
    return service.Hold(fence_of(headers), if_match_version(headers.get("if-match")))


def _start(tx: WriteTx, task_id: str, wish: Start, user: str, visible: service.Visible, terms: Terms) -> Answer:
    outcome = start_session(tx, task_id, wish, user=user, visible=visible, terms=terms)
    session = outcome.session.json()
    headers = {"ETag": resource_etag(outcome.session.version, session)}
    if not tx.staged:
        headers["X-Position"] = _position(tx, outcome.session.project_id)
    return Answer(outcome_status(outcome), json_bytes(outcome_body(outcome)), headers, outcome)


def _position(tx: ReadTx, channel: str) -> str:
    head = head_of(tx, channel)
    return f"{head.epoch}:{head.offset}"


def _get(tx: ReadTx, session_id: str, visible: service.Visible) -> View:
    record = service.get_session(tx, session_id, visible)
    (record,) = with_lost_models(tx, record.project_id, [record])
    return resource_view(record.project_id, record.version, record.json())


def _patch(
    tx: WriteTx, session_id: str, changes: dict[str, Any], hold: service.Hold, visible: service.Visible
) -> Answer:
    record = service.patch_session(tx, session_id, changes, hold=hold, visible=visible)
    body = record.json()
    headers = {"ETag": resource_etag(record.version, body)}
    if not tx.staged:
        headers["X-Position"] = _position(tx, record.project_id)
    return Answer(200, body, headers)


def _delete(tx: WriteTx, session_id: str, hold: service.Hold, user: str, visible: service.Visible) -> Answer:
    service.delete_session(tx, session_id, hold=hold, user=user, visible=visible)
    return Answer(204)


def _append(tx: WriteTx, session_id: str, chunks: list[Chunk], hold: service.Hold, visible: service.Visible) -> Answer:
    first, last = append_output(tx, session_id, chunks, hold=hold, visible=visible)
    return Answer(200, json_bytes({"first": first, "last": last}))


def _output(tx: ReadTx, session_id: str, query: requests.OutputQuery, visible: service.Visible) -> View:
    record = service.get_session(tx, session_id, visible)

    def body() -> bytes:
        chunks = output_page(tx, session_id, after=query.after, limit=query.limit)
        last = chunks[-1]["seq"] if chunks else query.after
        return json_bytes({"data": chunks, "next": str(last) if last < record.output_seq else None})

    return View(record.project_id, f'"{record.id}-{record.output_seq}"', body)
