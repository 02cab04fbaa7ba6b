"""One change per request: a function in a transaction, made once however often it is asked for."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from starlette.responses import Response

from sessioncast_server.db.database import Database, Written
from sessioncast_server.db.transaction import WriteTx
from sessioncast_server.exchange.once import Ticket, claim, give_back, keep
from sessioncast_server.problems import Problem, problem_of
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.cost import add_statements
from sessioncast_server.web.endpoint import Call

P = ParamSpec("P")

Counted = Callable[[str], None]
"""Told the outcome of every change: its status as text, or the code of the problem."""


class Mutator:
    """Runs the changes that requests ask for.

    Args:
        ttl_s: how long answers are kept for an `Idempotency-Key`.
        count: hears of every outcome.
    """

    def __init__(self, database: Database, *, ttl_s: float, count: Counted) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._count = count

    async def run(
        self, call: Call, fn: Callable[Concatenate[WriteTx, P], Answer], /, *args: P.args, **kwargs: P.kwargs
    ) -> Response:
        """The answer of `fn(tx, …)`, once it is durable, with the position of its last event.

        Raises:
            Problem: what `fn` refused with.
            DatabaseError: what the store failed with.
        """
        return respond(call, await self.apply(call, "", fn, *args, **kwargs))

    async def apply(
        self, call: Call, part: str, fn: Callable[Concatenate[WriteTx, P], Answer], /, *args: P.args, **kwargs: P.kwargs
    ) -> Written[Answer]:
        """As `run`, but what was written instead of the response.

        Args:
            part: which of several transactions this is, where one request makes several; each is made once.
        """
        ticket = self._ticket(call, part)
        try:
            written = await self._database.write(_apply, ticket, fn, args, kwargs)
        except Exception as error:
            self._count(problem_of(error).code)
            raise
        add_statements(call.request.scope, written.effort.statements)
        if isinstance(written.value.note, Problem):
            self._count(written.value.note.code)
            raise written.value.note
        self._count(str(written.value.status))
        return written

    def _ticket(self, call: Call, part: str) -> Ticket | None:
        key = call.request.headers.get("idempotency-key")
        if key is None:
            return None
        # Not the URL's: there a decoded `?` or `#` in a name would end the path.
        path: str = call.request.scope["path"]
        return Ticket.of(
            key,
            user=call.principal.sub,
            bearer=call.principal.bearer,
            method=call.request.method,
            path=f"{path}#{part}" if part else path,
            body=call.raw,
            ttl_s=self._ttl_s,
        )


def respond(call: Call, written: Written[Answer]) -> Response:
    """The response to a request that made one change."""
    response = written.value.response(call.request_id)
    if written.position is not None:
        response.headers["X-Position"] = str(written.position)
    return response


def _apply(
    tx: WriteTx, ticket: Ticket | None, fn: Callable[..., Answer], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Answer:
    if ticket is None:
        return _answer(tx, fn, args, kwargs)
    before = claim(tx, ticket)
    if before is not None:
        return before
    answer = _answer(tx, fn, args, kwargs)
    if 200 <= answer.status < 300:
        keep(tx, ticket, answer)
    else:
        give_back(tx, ticket)
    return answer


def _answer(tx: WriteTx, fn: Callable[..., Answer], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Answer:
    try:
        return fn(tx, *args, **kwargs)
    except Problem as problem:
        if not problem.keeps:
            raise
        return Answer(problem.status, note=problem)
