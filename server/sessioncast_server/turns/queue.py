"""A request that is answered when it is its turn."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect

from sessioncast_server.db.database import Written
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.problems import Problem
from sessioncast_server.turns.service import Place
from sessioncast_server.turns.waiting import WaitingRoom
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call
from sessioncast_shared import texts
from sessioncast_shared.codes import Code

_log = structlog.get_logger(__name__)

_PLACES = uuid.UUID("6f2f7d2e-5d0b-4c11-9b7a-0c9c6a1f1d53")
"""Namespace of places that an `Idempotency-Key` names."""


def waiting_answer(place: Place) -> Answer:
    """What a change says whose turn it is not. Nobody is sent it, and it is not kept."""
    return Answer(409, note=place)


class Queue:
    """Makes changes in turn.

    A request that comes again with its `Idempotency-Key` because the connection was lost, or the node stopped, finds
    its place kept for as long as the lease of a place. Whoever is answered that it took too long has no place any more.
    """

    def __init__(self, mutator: Mutator, room: WaitingRoom) -> None:
        self._mutator = mutator
        self._room = room

    async def in_turn(
        self,
        call: Call,
        wait_s: float,
        fn: Callable[..., Answer],
        /,
        *args: Any,
        place_id: str | None = None,
        part: str = "",
    ) -> Written[Answer]:
        """What `fn(tx, place_id, …)` wrote when it was its turn.

        Args:
            wait_s: longest wait.
            place_id: a UUID that no other request has: one that comes again waits behind itself, for what is done in
                the turn goes on after `fn`. None: as above.
            part: what an `Idempotency-Key` holds for besides the request.

        Raises:
            Problem: 409 `session_being_modified` with `ahead`, when the wait was too long; what `fn` refused with.
            ClientDisconnect: nobody is there to be answered.
        """
        key = call.request.headers.get("idempotency-key")
        keeps_place = key is not None and place_id is None
        place_id = place_id or str(uuid.uuid4())
        if keeps_place:
            asker = (call.principal.sub, call.principal.bearer or "")
            place_id = str(uuid.uuid5(_PLACES, "\n".join((*asker, call.request.scope["path"], key or ""))))
        loop = asyncio.get_running_loop()
        ends = loop.time() + wait_s
        try:
            while True:
                written = await self._mutator.apply(call, part, fn, place_id, *args)
                if not isinstance(written.value.note, Place):
                    return written
                await self._wait(call, written.value.note, ends - loop.time())
        except BaseException as error:
            if not keeps_place or (isinstance(error, Problem) and error.status == 409):
                await self.leave(place_id)
            raise

    async def _wait(self, call: Call, place: Place, wait_s: float) -> None:
        gone = call.request.is_disconnected
        ahead: int | None = place.ahead
        if wait_s > 0:
            ahead = await self._room.wait(place.id, place.ahead, wait_s, gone=gone)
        if await gone():
            raise ClientDisconnect
        if ahead:
            raise Problem(409, Code.SESSION_BUSY, texts.BUSY, retry_after=1, ahead=ahead)

    async def leave(self, place_id: str) -> None:
        """Give a place up, if there is one; else it lapses by itself."""
        try:
            await self._room.leave(place_id)
        except DatabaseError as error:
            _log.warning("a place in a queue could not be given up", error=str(error))
