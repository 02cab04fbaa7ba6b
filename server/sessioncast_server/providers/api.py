"""Provider sessions over HTTP."""

import time
from typing import Any

from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.log import head_of
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.exchange.mutator import Mutator, respond
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import invalid
from sessioncast_server.providers import requests
from sessioncast_server.providers.meter import Meter
from sessioncast_server.providers.resume import Terms, fail_resume, give_up_turn, resume
from sessioncast_server.providers.rules import Structure
from sessioncast_server.providers.service import Change, Opening, change_use, open_use
from sessioncast_server.providers.views import show_chain
from sessioncast_server.sessions.service import Visible
from sessioncast_server.turns.queue import Queue, waiting_answer
from sessioncast_server.turns.service import Place
from sessioncast_server.turns.waiting import WaitingRoom
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.inputs import fence_of
from sessioncast_shared import providers as shown
from sessioncast_shared.providers import FailureReason

_FENCE = {"X-Session-Fence": "the holder's fence; an old one is refused"}


class ProvidersApi:
    """The endpoints of provider sessions.

    Args:
        lease_s: lease of provider sessions that ask for none.
        wait_s: longest wait for a turn of requests that name none.
        structure_max: bytes of JSON in a map of paths to hashes.
    """

    def __init__(
        self,
        mutator: Mutator,
        reader: Reader,
        room: WaitingRoom,
        *,
        terms: Terms,
        meter: Meter,
        lease_s: float,
        wait_s: float,
        structure_max: int,
    ) -> None:
        self._mutator = mutator
        self._reader = reader
        self._room = room
        self._queue = Queue(mutator, room)
        self._terms = terms
        self._meter = meter
        self._lease_s = lease_s
        self._wait_s = wait_s
        self._structure_max = structure_max

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        of_session, one = "/v1/sessions/{session_id}", "/v1/provider-sessions/{provider_session}"

        def endpoint(method: str, path: str, handler: Any, summary: str, **rest: Any) -> Endpoint:
            scope = Scope.SESSIONS_READ if method == "GET" else Scope.SESSIONS_WRITE
            return Endpoint(method, path, handler, summary, scope, tag="provider sessions", **rest)

        return [
            endpoint(
                "POST",
                f"{of_session}/provider-sessions",
                self.open,
                "Begin a provider session",
                body=requests.OpenProviderSession,
                answers={201: shown.ProviderSession},
                headers=_FENCE,
            ),
            endpoint(
                "PATCH",
                one,
                self.patch,
                "Tell of a provider session: its newest id, what it used, that it ended",
                body=requests.PatchProviderSession,
                answers={200: shown.ProviderSession},
                headers=_FENCE,
            ),
            endpoint(
                "GET",
                f"{of_session}/chain",
                self.chain,
                "List a session's provider sessions, newest last",
                query=requests.ChainQuery,
                answers={200: shown.Chain, 304: None},
            ),
            endpoint(
                "POST",
                f"{of_session}/resume",
                self.resume,
                "Take a session over in turn, and be told what to resume",
                body=requests.Resume,
                answers={200: shown.ResumeDecision},
            ),
            endpoint(
                "DELETE",
                f"{of_session}/turn",
                self.give_up,
                "Give up the turn that a decision gave, unused",
                answers={204: None},
                headers=_FENCE,
            ),
            endpoint(
                "POST",
                f"{one}/resume-failed",
                self.resume_failed,
                "Tell that an id could not be resumed, and be told what to do next",
                body=requests.ResumeFailed,
                answers={200: shown.ResumeDecision},
                headers=_FENCE,
            ),
        ]

    async def open(self, call: Call) -> Response:
        """POST: 201."""
        body: requests.OpenProviderSession = call.body
        wish = Opening(**body.model_dump(exclude={"lease_s"}), lease_s=body.lease_s or self._lease_s)
        principal = call.principal
        written = await self._mutator.apply(
            call, "", _open, call.uuid("session_id"), wish, fence_of(call.request.headers), principal.sub,
            principal.may_see,
        )  # fmt: skip
        if written.value.note is not None:
            self._meter.opened(written.value.note)
        return respond(call, written)

    async def patch(self, call: Call) -> Response:
        """PATCH."""
        body: requests.PatchProviderSession = call.body
        change = Change(
            new_id=body.new_provider_session_id,
            usage={} if body.usage is None else body.usage.columns(),
            ended=body.ended,
            is_resumable=body.is_resumable,
            structure=self._bounded(body.structure_fingerprint),
        )
        principal = call.principal
        written = await self._mutator.apply(
            call, "", _patch, call.uuid("provider_session"), change, fence_of(call.request.headers), principal.sub,
            principal.may_see,
        )  # fmt: skip
        if written.value.note is not None:
            self._meter.changed(written.value.note, body.saved)
            if written.value.note.closed:
                self._room.nudge()
        return respond(call, written)

    async def chain(self, call: Call) -> Response:
        """GET of a page of the chain."""
        principal, session_id = call.principal, call.uuid("session_id")
        return await self._reader.show(call, show_chain, session_id, call.query, principal.may_see, self._terms.resume)

    async def resume(self, call: Call) -> Response:
        """POST: 200 when it is its turn, 409 when that takes too long."""
        body: requests.Resume = call.body
        principal, began = call.principal, time.monotonic()
        written = await self._queue.in_turn(
            call,
            self._wait_s if body.wait_s is None else body.wait_s,
            _resume,
            call.uuid("session_id"),
            self._bounded(body.structure_fingerprint),
            body.fork,
            principal.sub,
            principal.may_see,
            self._terms,
        )
        if written.value.note is not None:
            self._meter.decided(written.value.note, waited_s=None if body.fork else time.monotonic() - began)
        return respond(call, written)

    async def give_up(self, call: Call) -> Response:
        """DELETE: 204, also when there is no such turn any more."""
        principal = call.principal
        response = await self._mutator.run(
            call, _give_up, call.uuid("session_id"), fence_of(call.request.headers), principal.sub, principal.may_see
        )
        self._room.nudge()
        return response

    async def resume_failed(self, call: Call) -> Response:
        """POST: the next decision."""
        principal = call.principal
        written = await self._mutator.apply(
            call, "", _resume_failed, call.uuid("provider_session"), call.body.reason,
            fence_of(call.request.headers), principal.sub, principal.may_see, self._terms,
        )  # fmt: skip
        if written.value.note is not None:
            self._meter.failed(written.value.note)
        return respond(call, written)

    def _bounded(self, structure: Structure | None) -> Structure | None:
        if (
            structure is not None
            and not isinstance(structure, str)
            and len(json_bytes(structure)) > self._structure_max
        ):
            raise invalid("structure_fingerprint", f"has more than {self._structure_max} bytes; send a hash of it")
        return structure


def _open(tx: WriteTx, session_id: str, wish: Opening, fence: int | None, user: str, visible: Visible) -> Answer:
    use = open_use(tx, session_id, wish, fence=fence, user=user, visible=visible)
    return Answer(201, json_bytes(use.resource()), note=use)


def _patch(tx: WriteTx, use_id: str, change: Change, fence: int | None, user: str, visible: Visible) -> Answer:
    done = change_use(tx, use_id, change, fence=fence, user=user, visible=visible)
    return Answer(200, json_bytes(done.after.resource()), _position(tx, done.after.project_id), done)


def _resume(
    tx: WriteTx,
    place_id: str,
    session_id: str,
    structure: Structure | None,
    fork: bool,
    user: str,
    visible: Visible,
    terms: Terms,
) -> Answer:
    decided = resume(
        tx, session_id, structure=structure, fork=fork, place_id=place_id, user=user, visible=visible, terms=terms
    )
    if isinstance(decided, Place):
        return waiting_answer(decided)
    return Answer(200, json_bytes(decided.resource()), note=decided)


def _give_up(tx: WriteTx, session_id: str, fence: int | None, user: str, visible: Visible) -> Answer:
    give_up_turn(tx, session_id, fence=fence, user=user, visible=visible)
    return Answer(204)


def _resume_failed(
    tx: WriteTx, use_id: str, reason: FailureReason, fence: int | None, user: str, visible: Visible, terms: Terms
) -> Answer:
    failure = fail_resume(tx, use_id, reason, fence=fence, user=user, visible=visible, terms=terms)
    return Answer(200, json_bytes(failure.next.resource()), _position(tx, failure.project_id), failure)


def _position(tx: WriteTx, project_id: str) -> dict[str, str]:
    """Where what is shown stands in the log; a change with events has the position of its last one."""
    if tx.staged:
        return {}
    head = head_of(tx, project_id)
    return {"X-Position": f"{head.epoch}:{head.offset}"}
