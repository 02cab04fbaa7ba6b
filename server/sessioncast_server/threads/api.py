"""Threads over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.exchange.mutator import Mutator, respond
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.problems import Problem, invalid
from sessioncast_server.threads import changes, requests, views
from sessioncast_server.threads.meter import Meter
from sessioncast_server.threads.rules import Owned, Terms
from sessioncast_server.threads.service import ForeignThread
from sessioncast_server.threads.warden import Warden
from sessioncast_server.turns.queue import Queue
from sessioncast_server.turns.waiting import WaitingRoom
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_server.web.etag import if_match_version
from sessioncast_server.web.page import page_key
from sessioncast_shared import resources
from sessioncast_shared import threads as shown

Handler = Callable[[Call], Awaitable[Response]]


class ThreadsApi:
    """The endpoints of threads.

    Args:
        lease_s: lease of runs that ask for none.
        wait_s: longest wait for a turn of requests that name none.
    """

    def __init__(
        self,
        mutator: Mutator,
        reader: Reader,
        room: WaitingRoom,
        warden: Warden,
        *,
        terms: Terms,
        meter: Meter,
        lease_s: float,
        wait_s: float,
    ) -> None:
        self._mutator = mutator
        self._reader = reader
        self._room = room
        self._queue = Queue(mutator, room)
        self._warden = warden
        self._terms = terms
        self._meter = meter
        self._lease_s = lease_s
        self._wait_s = wait_s

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        every = "/v1/projects/{project_id}/threads"
        one = f"{every}/{{thread_id}}"

        def endpoint(method: str, path: str, handler: Handler, summary: str, **rest: Any) -> Endpoint:
            scope = Scope.SESSIONS_READ if method == "GET" else Scope.SESSIONS_WRITE
            return Endpoint(method, path, self._watched(handler), summary, scope, tag="threads", **rest)

        owner, in_turn = requests.OwnerQuery, requests.InTurn
        made = {200: shown.Thread, 201: shown.Thread}
        if_match = {"If-Match": "versions that the change may meet"}
        return [
            endpoint("POST", every, self.create, "Make a thread", body=requests.CreateThread, answers=made),
            endpoint(
                "GET",
                every,
                self.list,
                "List one's threads, newest first",
                query=requests.ThreadsQuery,
                answers={200: resources.Page[shown.Thread], 304: None},
            ),
            endpoint("GET", one, self.get, "Show a thread", query=owner, answers={200: shown.Thread, 304: None}),
            endpoint("DELETE", one, self.delete, "Delete a thread", answers={204: None}, headers=if_match),
            endpoint(
                "GET",
                f"{one}/messages",
                self.messages,
                "List messages",
                query=requests.MessagesQuery,
                answers={200: shown.MessagePage, 304: None},
            ),
            endpoint(
                "POST",
                f"{one}/messages",
                self.append,
                "Append messages, in turn; a thread that is not there is made",
                body=requests.AppendMessages,
                answers={201: shown.Appended},
            ),
            endpoint(
                "POST",
                f"{one}/pop",
                self.pop,
                "Take the newest message away",
                body=in_turn,
                answers={200: shown.Popped},
            ),
            endpoint("POST", f"{one}/clear", self.clear, "Empty a thread", body=in_turn, answers={200: shown.Thread}),
            endpoint(
                "GET",
                f"{one}/stats",
                self.stats,
                "Show how large and how old a thread is",
                query=owner,
                answers={200: shown.ThreadStats, 304: None},
            ),
            endpoint(
                "POST",
                f"{one}/runs",
                self.begin,
                "Have a thread to oneself, in turn",
                body=requests.BeginRun,
                answers={201: shown.ThreadRun},
            ),
            endpoint("PATCH", f"{one}/runs/{{run}}", self.renew, "Keep a run", answers={200: shown.ThreadRun}),
            endpoint("DELETE", f"{one}/runs/{{run}}", self.end, "End a run", answers={204: None}),
        ]

    async def create(self, call: Call) -> Response:
        """POST."""
        body: requests.CreateThread = call.body
        name = Owned(call.project(), call.principal.sub, body.id or views.new_thread_id())
        return await self._change(call, changes.create, name, body.title, self._terms)

    async def list(self, call: Call) -> Response:
        """GET of the list."""
        query: requests.ThreadsQuery = call.query
        user: str | None = _owner(call, query.user)
        if query.all:
            call.principal.require(Scope.THREADS_READ_ALL)
            user = query.user
        before = page_key(query.after)
        return await self._reader.show(
            call, views.show_threads, call.project(), user, query.limit, before, self._terms.keep
        )

    async def get(self, call: Call) -> Response:
        """GET of one."""
        return await self._reader.show(call, views.show_thread, self._read(call), self._terms.keep)

    async def delete(self, call: Call) -> Response:
        """DELETE."""
        versions = if_match_version(call.request.headers.get("if-match"))
        response = await self._change(call, changes.remove, _own(call), versions, self._terms)
        self._room.nudge()
        return response

    async def messages(self, call: Call) -> Response:
        """GET of messages."""
        query: requests.MessagesQuery = call.query
        seq = None if query.after is None else int(query.after)
        newest_first = query.order == "desc"
        return await self._reader.show(
            call,
            views.show_messages,
            self._read(call),
            seq,
            query.limit,
            newest_first,
            self._terms.read_bytes,
            self._warden.suspect,
        )

    async def append(self, call: Call) -> Response:
        """POST of messages."""
        body: requests.AppendMessages = call.body
        return await self._in_turn(call, changes.add, [message.item for message in body.messages])

    async def pop(self, call: Call) -> Response:
        """POST of pop."""
        return await self._in_turn(call, changes.take)

    async def clear(self, call: Call) -> Response:
        """POST of clear."""
        return await self._in_turn(call, changes.empty)

    async def stats(self, call: Call) -> Response:
        """GET of stats."""
        return await self._reader.show(call, views.show_stats, self._read(call), self._terms.keep)

    async def begin(self, call: Call) -> Response:
        """POST of a run."""
        body: requests.BeginRun = call.body
        wait_s = self._wait_s if body.wait_s is None else body.wait_s
        lease_s = self._lease_s if body.lease_s is None else body.lease_s
        written = await self._queue.in_turn(call, wait_s, changes.begin, _own(call), lease_s, self._terms)
        self._meter.told(written.value.note or ())
        return respond(call, written)

    async def renew(self, call: Call) -> Response:
        """PATCH of a run."""
        return await self._change(call, changes.renew, _own(call), call.uuid("run"))

    async def end(self, call: Call) -> Response:
        """DELETE of a run."""
        response = await self._change(call, changes.end, _own(call), call.uuid("run"), self._terms)
        self._room.nudge()
        return response

    async def _in_turn(self, call: Call, change: Callable[..., Any], *args: Any) -> Response:
        body: requests.InTurn = call.body
        wait_s = self._wait_s if body.wait_s is None else body.wait_s
        written = await self._queue.in_turn(call, wait_s, change, _own(call), *args, body.run, self._terms)
        self._meter.told(written.value.note or ())
        self._room.nudge()
        return respond(call, written)

    async def _change(self, call: Call, change: Callable[..., Any], *args: Any) -> Response:
        written = await self._mutator.apply(call, "", change, *args)
        self._meter.told(written.value.note or ())
        return respond(call, written)

    def _read(self, call: Call) -> Owned:
        return Owned(call.project(), _owner(call, call.query.user), thread_id(call))

    def _watched(self, handler: Handler) -> Handler:
        async def handle(call: Call) -> Response:
            try:
                return await handler(call)
            except ForeignThread as problem:
                self._meter.foreign(problem.name)
                raise

        return handle


def thread_id(call: Call) -> str:
    """The id in the path, canonical.

    Raises:
        Problem: 422, for what is no UUID.
    """
    try:
        return call.uuid("thread_id")
    except Problem:
        raise invalid("thread_id", "must be a UUID") from None


def _own(call: Call) -> Owned:
    return Owned(call.project(), call.principal.sub, thread_id(call))


def _owner(call: Call, user: str | None) -> str:
    if user is not None and user != call.principal.sub:
        call.principal.require(Scope.THREADS_READ_ALL)
    return user or call.principal.sub
