"""One conditional read per request, stamped with the position it was read at."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

from starlette.responses import Response

from sessioncast_server.channels.audience import Audience
from sessioncast_server.channels.log import head_of, newest
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.problems import Problem
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.cost import add_statements
from sessioncast_server.web.endpoint import Call
from sessioncast_server.web.etag import log_etag, none_match, resource_etag
from sessioncast_shared.codes import Code
from sessioncast_shared.position import BadPositionError, Position

P = ParamSpec("P")

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class View:
    """What a read shows.

    Attributes:
        channel: whose position it is stamped with.
        etag: entity tag.
        body: makes the JSON; not called when the reader has it already.
    """

    channel: str
    etag: str
    body: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a read showed, whole, to be given to anybody who may see the channel.

    Attributes:
        at: the position it was read at.
        statements: how many it took.
    """

    channel: str
    at: Position
    etag: str
    body: bytes
    statements: int


class _NotYetError(Exception):
    """The position that the reader wants to see is not in the log."""


class Reader:
    """Runs the reads that requests ask for.

    Args:
        wait_s: longest wait for `min_position`.
    """

    def __init__(self, database: Database, *, wait_s: float) -> None:
        self._database = database
        self._wait_s = wait_s

    async def show(
        self, call: Call, fn: Callable[Concatenate[ReadTx, P], View], /, *args: P.args, **kwargs: P.kwargs
    ) -> Response:
        """What `fn(tx, …)` shows: 200, or 304 when the request's `If-None-Match` has it.

        Raises:
            Problem: 400 `bad_cursor` for a malformed `min_position`, 503 when it does not come in time, or cannot.
        """
        wanted = min_position(call)
        condition = call.request.headers.get("if-none-match")
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._wait_s, _FIRST_PAUSE_S
        while True:
            try:
                answer, statements = await self._database.read(_look, wanted, condition, fn, args, kwargs)
            except _NotYetError:
                if loop.time() + pause > deadline:
                    detail = f"The position {wanted} is not visible here yet."
                    raise Problem(503, Code.UNAVAILABLE, detail, retry_after=1) from None
            else:
                add_statements(call.request.scope, statements)
                return answer.response(call.request_id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def load(self, fn: Callable[Concatenate[ReadTx, P], View], /, *args: P.args, **kwargs: P.kwargs) -> Shown:
        """What `fn(tx, …)` shows, whatever who asks has already."""
        return await self._database.read(_load, fn, args, kwargs)


def shown_answer(at: Position, etag: str, condition: str | None, body: Callable[[], bytes]) -> Answer:
    """200, or 304 where `condition`, an `If-None-Match`, has it.

    Args:
        at: position up to which it is true.
    """
    headers = {"X-Position": str(at), "ETag": etag, "Cache-Control": "private, no-cache"}
    if not none_match(condition, etag):
        return Answer(304, b"", headers)
    return Answer(200, body(), headers)


def min_position(call: Call) -> Position | None:
    """The position that the reader wants to see.

    Raises:
        Problem: 400 `bad_cursor`.
    """
    text = getattr(call.query, "min_position", None)
    if text is None:
        return None
    try:
        return Position.parse(text)
    except BadPositionError as error:
        raise Problem(400, Code.BAD_CURSOR, "`min_position` is not a position.") from error


def resource_view(channel: str, version: int, body: bytes) -> View:
    """A view of one resource, tagged with its version and what is derived into it."""
    return View(channel, resource_etag(version, body), lambda: body)


def list_view(tx: ReadTx, channel: str, audience: Audience, body: Callable[[], bytes]) -> View:
    """A view of many resources, tagged with the position of the last event that concerns them."""
    head = head_of(tx, channel)
    return View(channel, log_etag(head.epoch, newest(tx, channel, audience), head.floor), body)


def _look(
    tx: ReadTx,
    wanted: Position | None,
    condition: str | None,
    fn: Callable[..., View],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Answer, int]:
    """The answer, and how many statements it took."""
    view = fn(tx, *args, **kwargs)
    head = head_of(tx, view.channel)
    if wanted is not None and wanted.epoch != head.epoch:
        detail = f"The position {wanted} is of another epoch than this log; it will never be visible here."
        raise Problem(503, Code.UNAVAILABLE, detail, retryable=False)
    if wanted is not None and wanted.offset > head.offset:
        raise _NotYetError
    answer = shown_answer(Position(head.epoch, head.offset), view.etag, condition, view.body)
    return answer, tx.statements


def _load(tx: ReadTx, fn: Callable[..., View], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shown:
    view = fn(tx, *args, **kwargs)
    head = head_of(tx, view.channel)
    body = view.body()
    return Shown(view.channel, Position(head.epoch, head.offset), view.etag, body, tx.statements)
