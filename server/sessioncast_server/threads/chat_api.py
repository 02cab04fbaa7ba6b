"""Chats over HTTP: a line is said, and answered in the same thread."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
import structlog
from starlette.responses import Response

from sessioncast_server.auth.principal import Scope
from sessioncast_server.db.errors import CommitUnknownError, UnavailableError
from sessioncast_server.exchange.mutator import Mutator, respond
from sessioncast_server.exchange.queries import ReadQuery
from sessioncast_server.exchange.reader import Reader
from sessioncast_server.problems import Problem, invalid, not_found
from sessioncast_server.projects.service import is_project_id
from sessioncast_server.threads import changes, requests, views
from sessioncast_server.threads.api import thread_id
from sessioncast_server.threads.meter import Meter
from sessioncast_server.threads.responder import Context, ResponderError
from sessioncast_server.threads.responding import Responding
from sessioncast_server.threads.rules import Item, Owned, Terms
from sessioncast_server.threads.service import ForeignThread
from sessioncast_server.threads.warden import Warden
from sessioncast_server.turns.holding import Holder
from sessioncast_server.turns.queue import Queue
from sessioncast_server.turns.waiting import WaitingRoom
from sessioncast_server.web.answer import Answer
from sessioncast_server.web.endpoint import Call, Endpoint
from sessioncast_shared import texts
from sessioncast_shared import threads as shown
from sessioncast_shared.codes import Code

_log = structlog.get_logger(__name__)

_LINES = uuid.UUID("b6d1f0a4-58c2-4a5e-8d0d-2f7f0a0e9c35")
"""Namespace of messages that an `Idempotency-Key` names."""

_GRACE_S = 1.0
"""How long a node that stops waits for answers."""

_AWAY = (UnavailableError, CommitUnknownError)
_HEADERS = {"X-Project": "the project, where the token has several"}

Whisper = Callable[[Owned, str, int, str], None]
"""Shows a piece of an answer to who watches the thread: whose it is, the id it will have, its number, its text."""


@dataclass(frozen=True, slots=True)
class ChatTerms:
    """How chats are answered.

    Attributes:
        wait_s: longest wait for those before.
        lease_s: how long a run outlives this node.
        default_project: of whom no token names one; it is made when there is none. None: X-Project is needed.
    """

    wait_s: float
    lease_s: float
    default_project: str | None


class ChatApi:
    """The endpoints of chats."""

    def __init__(
        self,
        mutator: Mutator,
        reader: Reader,
        room: WaitingRoom,
        holder: Holder,
        warden: Warden,
        responding: Responding,
        *,
        chat: ChatTerms,
        terms: Terms,
        meter: Meter,
        whisper: Whisper,
    ) -> None:
        self._mutator = mutator
        self._reader = reader
        self._room = room
        self._queue = Queue(mutator, room)
        self._holder = holder
        self._warden = warden
        self._responding = responding
        self._chat = chat
        self._terms = terms
        self._meter = meter
        self._whisper = whisper
        self._answers: set[asyncio.Task[Response]] = set()
        self._stopping: asyncio.Future[None] | None = None

    def endpoints(self) -> list[Endpoint]:
        """The endpoint table."""
        one = "/chatkit/threads/{thread_id}"
        read, write = Scope.SESSIONS_READ, Scope.SESSIONS_WRITE
        return [
            Endpoint(
                "POST",
                "/chatkit/threads",
                self.create,
                "Begin a chat",
                write,
                body=requests.CreateThread,
                answers={200: shown.Thread, 201: shown.Thread},
                tag="chats",
                headers=_HEADERS,
            ),
            Endpoint(
                "POST",
                f"{one}/messages",
                self.send,
                "Say a line, and be answered",
                write,
                body=requests.SendMessage,
                answers={200: shown.Reply},
                tag="chats",
                headers=_HEADERS,
            ),
            Endpoint(
                "GET",
                one,
                self.show,
                "Show a chat with its newest messages",
                read,
                query=ReadQuery,
                answers={200: shown.ThreadWithMessages, 304: None},
                tag="chats",
                headers=_HEADERS,
            ),
        ]

    def drain(self) -> None:
        """The node stops: answers that do not come soon are not waited for."""
        asyncio.get_running_loop().call_later(_GRACE_S, self._stop)

    async def close(self) -> None:
        """Stop."""
        answers = tuple(self._answers)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    async def create(self, call: Call) -> Response:
        """POST."""
        body: requests.CreateThread = call.body
        project, makes = self._project(call)
        name = Owned(project, call.principal.sub, body.id or views.new_thread_id())
        written = await self._mutator.apply(call, project, changes.create_chat, name, body.title, self._terms, makes)
        self._meter.told(written.value.note or ())
        return respond(call, written)

    async def show(self, call: Call) -> Response:
        """GET."""
        name = Owned(self._project(call)[0], call.principal.sub, thread_id(call))
        try:
            return await self._reader.show(call, views.show_chat, name, self._terms, self._warden.suspect)
        except ForeignThread as problem:
            self._meter.foreign(problem.name)
            raise

    async def send(self, call: Call) -> Response:
        """POST of a line: 200 with the answer."""
        body: requests.SendMessage = call.body
        project, makes = self._project(call)
        name = Owned(project, call.principal.sub, thread_id(call))
        line, answer_id = _ids(call, name)
        place_id = str(uuid.uuid4())
        try:
            written = await self._queue.in_turn(
                call,
                self._chat.wait_s,
                changes.ask,
                name,
                Item("user", body.content, line),
                self._terms,
                self._chat.lease_s,
                makes,
                place_id=place_id,
                part=project,
            )
        except _AWAY as error:
            if isinstance(error, UnavailableError) and error.reason == "queue":
                raise  # it is not away, it has too much to do
            return await self._finish(self._without_thread(call, name, body.content, answer_id, error))
        asked = written.value.note
        if not isinstance(asked, changes.Asked):
            # It was answered before, under the same key; it may have waited behind itself.
            await self._queue.leave(place_id)
            self._room.nudge()
            return respond(call, written)
        self._meter.told(asked.told)
        # Whoever asked may go: the line is in the thread, and what answers it is going to be.
        return await self._finish(self._answer(call, name, asked, body.content, answer_id))

    async def _finish(self, work: Coroutine[Any, Any, Response]) -> Response:
        """What comes of an answer, which goes on without who asked for it.

        Raises:
            Problem: 503, when the node stops before.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
        answer = asyncio.create_task(work, name="chat")
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)
        either: set[asyncio.Future[Any]] = {answer, self._stopping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        raise Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1)

    def _stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def _answer(self, call: Call, name: Owned, asked: changes.Asked, line: str, answer_id: str) -> Response:
        run_id = asked.run_id
        self._holder.hold(run_id)
        ended = False
        try:
            context = Context(name.project, name.user, name.id, asked.said)
            content, seconds = await self._respond(name, context, line, answer_id)
            try:
                item = Item("assistant", content, answer_id)
                written = await self._mutator.apply(call, name.project, changes.reply, name, run_id, item, self._terms)
            except _AWAY as error:
                self._meter.answered("degraded", name, seconds=seconds, error=type(error).__name__)
                return _not_kept(call, content)
            except Problem as problem:
                if problem.code is Code.FENCED:
                    ended = True
                    self._meter.answered("fenced", name, seconds=seconds)
                raise
            ended = True
            self._meter.answered("kept", name, seconds=seconds)
            self._meter.told(written.value.note or ())
            return respond(call, written)
        finally:
            if ended:
                self._holder.let_go(run_id)
            else:
                self._holder.give_up(run_id, partial(changes.abandon, name=name, terms=self._terms))
            self._room.nudge()

    async def _without_thread(self, call: Call, name: Owned, line: str, answer_id: str, error: Exception) -> Response:
        context = Context(name.project, name.user, name.id, available=False)
        content, seconds = await self._respond(name, context, line, answer_id)
        self._meter.answered("degraded", name, seconds=seconds, error=type(error).__name__)
        return _not_kept(call, content)

    async def _respond(self, name: Owned, context: Context, line: str, answer_id: str) -> tuple[str, float]:
        began = time.monotonic()
        self._meter.answering(1)
        try:
            content = await self._responding.answer(
                context, line, lambda index, text: self._whisper(name, answer_id, index, text)
            )
        except ResponderError as error:
            self._meter.answered("failed", name, seconds=time.monotonic() - began, error=str(error))
            raise Problem(503, Code.UNAVAILABLE, texts.UNAVAILABLE, retry_after=1) from None
        finally:
            self._meter.answering(-1)
        return content, time.monotonic() - began

    def _project(self, call: Call) -> tuple[str, bool]:
        """The project of a chat, and whether it is made when there is none.

        Raises:
            Problem: 422, when nobody says which; 404 for one that is not the caller's.
        """
        principal, named = call.principal, call.request.headers.get("x-project")
        project = named
        if principal.projects is not None and len(principal.projects) == 1:
            (project,) = principal.projects
        default = self._chat.default_project
        if project is None and default is not None:
            return default, True
        if project is None:
            raise invalid("X-Project", "is needed: the token does not have exactly one project")
        if not is_project_id(project) or not principal.may_see(project) or named not in (None, project):
            raise not_found()
        return project, project == default


def _ids(call: Call, name: Owned) -> tuple[str, str]:
    """Ids of the line and of its answer: the same for the same `Idempotency-Key`, so that neither comes twice."""
    key = call.request.headers.get("idempotency-key")
    if key is None:
        return str(uuid.uuid4()), str(uuid.uuid4())
    asked = "\n".join((name.key, call.principal.bearer or "", key))
    return str(uuid.uuid5(_LINES, f"line\n{asked}")), str(uuid.uuid5(_LINES, f"answer\n{asked}"))


def _not_kept(call: Call, content: str) -> Response:
    body = orjson.dumps({"content": content, "warning": texts.CONTEXT, "kept": False})
    return Answer(200, body).response(call.request_id)
