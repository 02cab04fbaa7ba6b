"""The events URLs: a stream or a poll, as `Accept` asks."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.channels.attendant import Wish
from sessioncast_server.channels.framing import Framing
from sessioncast_server.channels.hub import FullError, Hub
from sessioncast_server.db.errors import DatabaseError
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.problems import Problem
from sessioncast_server.transports.admission import Admission, Ticket, TooManyError, address_of
from sessioncast_server.transports.outlet import OutletTerms
from sessioncast_server.transports.poll import Poll
from sessioncast_server.transports.push import PUSH_DISABLED, Push
from sessioncast_server.transports.sse import SseSink
from sessioncast_server.transports.sseresponse import SseResponse
from sessioncast_server.transports.ssestream import SseStream
from sessioncast_server.transports.target import EventsQuery, Target, Targets, read_filter, read_wish
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared.codes import Code
from sessioncast_shared.filters import Filter

Find = Callable[[], Awaitable[Target]]
"""Looks for what a request wants to follow; raises as `Targets.check`."""

_COME_BACK_S = (1, 3)
"""Shortest and longest pause, in whole seconds, that a poll over a bound is told."""

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class PollAnswer(BaseModel):
    """What a poll is answered. The header `X-Push` is `on` or `off`: whether a stream would be had instead."""

    model_config = ConfigDict(extra="allow")

    state: str
    resources: list[dict[str, Any]] | None = None
    events: list[dict[str, Any]]
    position: str
    more: bool


class EventsApi:
    """The endpoints of streams over HTTP.

    Args:
        admission: bounds streams, and polls that wait; paces the opening of both.
        terms: of all streams.
        push: which projects may be pushed to.
    """

    def __init__(
        self,
        hub: Hub,
        poll: Poll,
        targets: Targets,
        admission: Admission,
        metrics: Metrics,
        *,
        terms: OutletTerms,
        push: Push,
    ) -> None:
        self._hub = hub
        self._admission = admission
        self._poll = poll
        self._targets = targets
        self._metrics = metrics
        self._terms = terms
        self._push = push

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        headers = {"Last-Event-ID": "position to go on from", "Accept": "application/json for a poll"}
        rest: dict[str, Any] = {
            "query": EventsQuery,
            "answers": {200: PollAnswer, 304: None},
            "tag": "streams",
            "headers": headers,
            "head": False,
        }
        read = Scope.SESSIONS_READ
        return [
            Endpoint(
                "GET", "/v1/projects/{project_id}/events", self.project, "Stream a project's events", read, **rest
            ),
            Endpoint("GET", "/v1/tasks/{task_id}/events", self.task, "Stream a task's events", read, **rest),
            Endpoint(
                "GET", "/v1/sessions/{session_id}/events", self.session, "Stream a session's events", read, **rest
            ),
        ]

    async def project(self, call: Call) -> Response:
        """GET of a project's events, narrowed by a filter."""
        query: EventsQuery = call.query
        wishes = read_filter(
            tasks=query.task,
            sessions=query.session,
            threads=query.thread,
            kinds=None if query.kinds is None else query.kinds.split(","),
        )
        return await self._serve(call, partial(self._targets.check, call.path["project_id"], wishes, call.principal))

    async def task(self, call: Call) -> Response:
        """Shorthand for the filter of one task."""
        task_id = call.uuid("task_id")
        wishes = self._narrowed(call.query, tasks=[task_id])
        return await self._serve(call, partial(self._targets.of_task, task_id, wishes, call.principal))

    async def session(self, call: Call) -> Response:
        """Shorthand for the filter of one session."""
        session_id = call.uuid("session_id")
        wishes = self._narrowed(call.query, sessions=[session_id])
        return await self._serve(call, partial(self._targets.of_session, session_id, wishes, call.principal))

    def _narrowed(self, query: EventsQuery, **ids: list[str]) -> Filter:
        if query.task or query.session or query.thread:
            detail = "This URL is a filter already; use the project's events URL for another."
            raise Problem(400, Code.BAD_FILTER, detail)
        return read_filter(**ids, kinds=None if query.kinds is None else query.kinds.split(","))

    async def _serve(self, call: Call, find: Find) -> Response:
        wish = read_wish(call.request.headers.get("last-event-id") or call.query.position, call.query.snapshot)
        if _wants_poll(call.request.headers.get("accept", "")):
            return await self._answer(call, find, wish)
        refused = SseResponse(self._refuse, self._terms, call.request_id)
        try:
            ticket = self._take(call)
        except TooManyError:
            return refused
        try:
            await self._admission.enter()
            target = await find()
            self._push.require(target.channel)
        except (TooManyError, DatabaseError):
            ticket.release()
            return refused
        except BaseException:
            ticket.release()
            raise
        return SseResponse(partial(self._join, call, target, wish, ticket), self._terms, call.request_id)

    async def _answer(self, call: Call, find: Find, wish: Wish) -> Response:
        """A poll. One that may wait holds a place meanwhile, as a stream does; one that may not is a read."""
        wait_s, condition = call.query.wait, call.request.headers.get("if-none-match")
        if wait_s and not self._push.everywhere and not self._push.on((await find()).channel):
            wait_s = 0  # it is not to wait, so it needs no place
        if wait_s == 0:
            answer = await self._poll.answer(await find(), wish, wait_s=0, condition=condition)
            return answer.response(call.request_id)
        ticket = None
        try:
            ticket = self._take(call)
            await self._admission.enter()
            answer = await self._poll.answer(await find(), wish, wait_s=wait_s, condition=condition)
        except TooManyError as error:
            detail = f"There are as many streams as this {error.which} may have."
            pause = random.randint(*_COME_BACK_S)  # noqa: S311  spreads clients, guards nothing
            raise Problem(429, Code.TOO_MANY, detail, retry_after=pause) from error
        finally:
            if ticket is not None:
                ticket.release()
        return answer.response(call.request_id)

    def _take(self, call: Call) -> Ticket:
        return self._admission.take(call.principal.sub, address_of(call.request.scope.get("client")))

    async def _refuse(self, sink: SseSink | SseStream, framing: Framing | None = None) -> None:  # noqa: ARG002  a `Begin`
        """For a lack of ours. A browser gives up for ever on any status but 200: it is told in-band, and a time."""
        sink.end("draining" if self._hub.draining else "overloaded")

    async def _join(
        self, call: Call, target: Target, wish: Wish, ticket: Ticket, sink: SseSink | SseStream, framing: Framing
    ) -> None:
        try:
            subscriber = await self._hub.join(target.channel, target.audience, framing, sink, wish)
        except (FullError, DatabaseError, KeyError):
            ticket.release()
            await self._refuse(sink)
            return
        except BaseException:
            ticket.release()
            raise
        sink.subscriber = subscriber
        self._metrics.subscribers.labels("sse").inc()
        expires_at = call.principal.expires_at
        timer = None
        if expires_at is not None:
            seconds = max(0.0, expires_at - time.time())
            timer = asyncio.get_running_loop().call_later(seconds, subscriber.end, "expired")
        subscriber.when_left = _Place(self._metrics, ticket, timer)
        if sink.ended:
            subscriber.leave()  # the client left meanwhile
        elif not self._push.on(target.channel):
            subscriber.end(PUSH_DISABLED)  # switched off meanwhile: who ended the others did not know of this one


class _Place:
    """What a stream gives back when its subscriber leaves. There is one a stream, so it is a small object."""

    __slots__ = ("_metrics", "_ticket", "_timer")

    def __init__(self, metrics: Metrics, ticket: Ticket, timer: asyncio.TimerHandle | None) -> None:
        self._metrics = metrics
        self._ticket = ticket
        self._timer = timer

    def __call__(self) -> None:
        self._ticket.release()
        self._metrics.subscribers.labels("sse").dec()
        if self._timer is not None:
            self._timer.cancel()


def _wants_poll(accept: str) -> bool:
    """Whether JSON is asked for by name, and rather than a stream (RFC 9110, section 12.5.1); if in doubt, a stream."""
    weights = dict(map(_weighted, accept.split(",")))
    stream = weights.get("text/event-stream")
    anything = weights.get("*/*", 0.0) if stream == 0 else 0.0  # a stream is not wanted: then what else there is
    return weights.get("application/json", anything) > (stream or 0.0)


def _weighted(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in media_range.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return name, float(parameter[2:]) if _WEIGHT.fullmatch(parameter[2:]) else 1.0
    return name, 1.0
