"""Flags over HTTP. They belong to no project: no position, and no event of their own."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.db.database import Database
from sessioncast_server.db.transaction import ReadTx, WriteTx
from sessioncast_server.exchange.mutator import Mutator
from sessioncast_server.flags.rules import Flag, FlagState
from sessioncast_server.flags.service import all_flags, get_flag, lock_flags, put_flag
from sessioncast_server.flags.view import FlagView
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import invalid, not_found, stale
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.cursor import PageQuery, decode, encode
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import if_match_version, none_match, resource_etag
from sessioncast_shared import resources

_log = structlog.get_logger(__name__)

Changed = Callable[[Flag], Awaitable[int | None]]
"""Settles what a flag left behind, after a change of it is durable and this node knows of it.

Awaited for repeated requests and for changes to what was so already too, so that who was cut off before can have it
done: it must look at the flag as it is now. Returns how much was settled, None for nothing of the kind.
"""


class PutFlag(BaseModel):
    """`on`, `off`, or on for a share of projects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["on", "off", "percentage"]
    percentage: Annotated[
        float, Field(strict=True, ge=0, le=100, description="share of projects; with the state `percentage` only")
    ] = 0.0

    def share(self) -> float:
        """The share of projects, 0 to 100.

        Raises:
            Problem: 422, when there is a percentage and none belongs there, or the other way round.
        """
        given = "percentage" in self.model_fields_set
        if self.state == "percentage" and not given:
            raise invalid("percentage", "Field required")
        if self.state != "percentage" and given:
            raise invalid("percentage", f"Input should not be given with the state {self.state}")
        return {"on": 100.0, "off": 0.0}.get(self.state, abs(self.percentage))  # -0.0 is 0 too


class FlagsApi:
    """The endpoints of flags.

    Args:
        view: what this node knows; it is made to look again after each change.
        changed: see `Changed`.
    """

    def __init__(
        self, mutator: Mutator, database: Database, view: FlagView, *, changed: Changed, metrics: Metrics
    ) -> None:
        self._mutator = mutator
        self._database = database
        self._view = view
        self._changed = changed
        self._metrics = metrics

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        every, one, tag = "/v1/admin/flags", "/v1/admin/flags/{name}", "flags"
        return [
            Endpoint(
                "GET",
                every,
                self.list,
                "List flags by name",
                Scope.ADMIN,
                query=PageQuery,
                answers={200: resources.Page[resources.Flag], 304: None},
                tag=tag,
            ),
            Endpoint(
                "GET", one, self.get, "Show a flag", Scope.ADMIN, answers={200: resources.Flag, 304: None}, tag=tag
            ),
            Endpoint(
                "PUT",
                one,
                self.put,
                "Switch a flag, for all projects or for a share of them",
                Scope.ADMIN,
                body=PutFlag,
                answers={200: resources.Flag},
                tag=tag,
                headers={"If-Match": "versions that the change may meet"},
            ),
        ]

    async def list(self, call: Call) -> Response:
        """GET of the list."""
        query: PageQuery = call.query
        after = "" if query.after is None else str(decode(query.after, str)[0])
        return _conditional(call, await self._database.read(_page, after, query.limit))

    async def get(self, call: Call) -> Response:
        """GET of one, from the database."""
        return _conditional(call, await self._database.read(_show, _flag(call)))

    async def put(self, call: Call) -> Response:
        """PUT. What was settled stands in the answer of the request that settled it: it is not part of what is kept."""
        flag, versions = _flag(call), if_match_version(call.request.headers.get("if-match"))
        user, change = call.principal.sub, list[FlagState]()
        response = await self._mutator.run(call, _put, flag, call.body.share(), user, versions, change)
        await self._view.refresh()
        if change and change[0].version != change[1].version:
            self._metrics.flag_changes.labels(flag.value).inc()
            before, after = change
            _log.info("flag changed", flag=flag.value, user=user, before=before.percentage, after=after.percentage)
        settled = await self._changed(flag)
        if settled is not None:
            body = json_bytes(orjson.loads(response.body) | {"settled": settled})
            headers = {name: value for name, value in response.headers.items() if name != "content-length"}
            return Response(body, response.status_code, headers)
        return response


def _flag(call: Call) -> Flag:
    try:
        return Flag(call.path["name"])
    except ValueError:
        raise not_found() from None


def _put(
    tx: WriteTx, flag: Flag, percentage: float, user: str, versions: frozenset[int] | None, change: list[FlagState]
) -> Answer:
    lock_flags(tx)
    before = get_flag(tx, flag)
    if versions is not None and before.version not in versions:
        raise stale()
    after = put_flag(tx, flag, percentage, user)
    change[:] = before, after  # for the log; the run that commits is the last one to say it
    return _answer(after)


def _show(tx: ReadTx, flag: Flag) -> Answer:
    return _answer(get_flag(tx, flag))


def _answer(state: FlagState) -> Answer:
    body = json_bytes(state.resource())
    return Answer(200, body, {"ETag": resource_etag(state.version, body), "Cache-Control": "private, no-cache"})


def _page(tx: ReadTx, after: str, limit: int) -> Answer:
    states = [state for state in all_flags(tx) if state.flag.value > after]
    shown = states[:limit]
    following = encode([shown[-1].flag.value]) if len(states) > limit else None
    body = json_bytes({"data": [state.resource() for state in shown], "next": following})
    newest = max((state.version for state in shown), default=0)
    return Answer(200, body, {"ETag": resource_etag(newest, body), "Cache-Control": "private, no-cache"})


def _conditional(call: Call, answer: Answer) -> Response:
    """The answer, or 304 when the request's `If-None-Match` has it."""
    if not none_match(call.request.headers.get("if-none-match"), answer.headers["ETag"]):
        answer = Answer(304, b"", answer.headers)
    return answer.response(call.request_id)
