"""Locust's users: they look up, start, change and replace sessions, with time to think, and some of them watch.

`sessions.py` runs it. By hand: `locust -f loadtests/locustfile.py --world FILE --host URL`.
"""

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import gevent
import orjson
from geventhttpclient.response import HTTPConnectionClosed
from locust import FastHttpUser, between, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from scenarios import SETTLE_S
from swarm.ledger import Ledger
from swarm.measures import Measures
from swarm.streams import SseStream, Stream, WebSocketStream
from swarm.worker import Worker, WrongAnswerError
from swarm.world import World, read_world

_CLOSED = (HTTPConnectionClosed, ConnectionResetError, BrokenPipeError)
"""How it ends when a request meets the close of a connection that was idle for too long. It is sent once more, as
browsers do, and that is told; a machine that stands still for seconds is all it takes."""
_CATCH_UP_S = 10.0
"""How long streams may take to hear of the last change, once nobody changes anything any more."""


class Run:
    """What the users of this generator share."""

    def __init__(self) -> None:
        self.measures = Measures()
        self.world: World
        self.numbers = count()
        self.heads: dict[str, int] = {}
        self.watches: list[Watch] = []
        self.window = (0.0, 0.0)
        self.used = 0.0

    def start_clocks(self) -> None:
        """From now on what is timed counts."""
        self.measures.restart_clocks()
        self.window, self.used = (time.time(), 0.0), time.process_time()

    def settle(self) -> None:
        """Wait until every stream has come as far as the project's log, then end them all."""
        with gevent.Timeout(_CATCH_UP_S, exception=False):
            while any(watch.behind(self.heads) for watch in self.watches):
                gevent.sleep(0.02)
        for watch in self.watches:
            watch.end(self.heads)

    def to_json(self) -> dict[str, Any]:
        """What `sessions.py` reads."""
        watched = {
            kind: {
                "streams": len(mine),
                "events": sum(watch.ledger.events for watch in mine),
                "lost": sum(watch.ledger.lost for watch in mine),
                "faults": sum((watch.ledger.faults for watch in mine), start=type(mine[0].ledger.faults)()),
            }
            for kind in ("sse", "ws")
            if (mine := [watch for watch in self.watches if watch.kind == kind])
        }
        began, ended = self.window
        share = self.used / (ended - began) if 0 < began < ended else math.inf  # a run that was too short is void
        return {"window": self.window, "generator": share, "watched": watched, **self.measures.to_json()}


class Watch:
    """A stream with its ledger and the greenlet that reads it."""

    def __init__(self, kind: str, project: str, open_: Callable[[Ledger], Stream]) -> None:
        self.kind = kind
        self._project = project
        self.ledger = Ledger(RUN.measures[f"deliver {kind}"].record)
        self._stream = open_(self.ledger)
        self._greenlet = gevent.spawn(self._stream.run)

    def behind(self, heads: dict[str, int]) -> bool:
        """Whether it has yet to hear of a change that somebody made."""
        return not self._greenlet.dead and (self.ledger.offset or 0) < heads.get(self._project, 0)

    def end(self, heads: dict[str, int]) -> None:
        """End the stream and draw the line under its ledger."""
        self._stream.close()
        self._greenlet.join(timeout=5)
        self.ledger.close(heads.get(self._project, 0))


RUN = Run()
_Listener = TypeVar("_Listener", bound=Callable[..., None])


def _on(hook: Any) -> Callable[[_Listener], _Listener]:
    """`hook.add_listener` with its type."""
    decorate: Callable[[_Listener], _Listener] = hook.add_listener
    return decorate


class Person(FastHttpUser):
    """A user with work to do."""

    abstract = True
    network_timeout = connection_timeout = 60.0
    max_retries = 0  # a second attempt of its own would hide what went wrong

    watching: ClassVar[str | None] = None

    def on_start(self) -> None:
        """Sit down, and watch the project."""
        number = next(RUN.numbers)
        self.headers = {"X-User": f"user-{number}", "Content-Type": "application/json"}
        if token := os.environ.get("SESSIONCAST_TOKEN"):
            self.headers["Authorization"] = f"Bearer {token}"
        desk = RUN.world.desk(number)
        self.project = desk.project
        self.watch: Watch | None = None
        if self.watching is not None:
            try:
                self.watch = Watch(self.watching, desk.project, self._stream)
            except Exception as error:  # noqa: BLE001  a stream that does not open is a finding, not an end
                RUN.measures.fail(f"watch {self.watching}", "not opened", repr(error))
            else:
                RUN.watches.append(self.watch)
        self.worker = Worker(desk, self._send, RUN.measures, self._committed)

    @task(40)
    def lookup(self) -> None:
        """Look a phase up."""
        self._do(self.worker.lookup)

    @task(25)
    def append(self) -> None:
        """Append output."""
        self._do(self.worker.append)

    @task(15)
    def patch(self) -> None:
        """Change status and metadata."""
        self._do(self.worker.patch)

    @task(12)
    def replace(self) -> None:
        """Ask for another model; the next thing to do is to confirm."""
        self._do(self.worker.ask)

    @task(8)
    def begin(self) -> None:
        """Start; `start` is a name of Locust's."""
        self._do(self.worker.start)

    def _do(self, work: Callable[[], None]) -> None:
        with suppress(WrongAnswerError):  # counted already
            if self.worker.was_asked:
                self.worker.confirm()
            else:
                work()

    def _stream(self, ledger: Ledger) -> Stream:
        kind = SseStream if self.watching == "sse" else WebSocketStream
        headers = {name: value for name, value in self.headers.items() if name != "Content-Type"}
        return kind(self.host or "", self.project, headers, ledger)

    def _committed(self, position: str) -> None:
        offset = int(position.partition(":")[2])
        RUN.heads[self.project] = max(offset, RUN.heads.get(self.project, 0))
        if self.watch is not None:
            self.watch.ledger.changed(position)

    def _send(
        self, operation: str, method: str, path: str, body: Any, good: Callable[[int, Any], str | None]
    ) -> tuple[int, Any, str | None]:
        data = None if body is None else orjson.dumps(body).decode()
        for attempt in range(2):
            with self.client.request(
                method, path, name=operation, data=data, headers=self.headers, catch_response=True
            ) as response:
                error = getattr(response, "error", None) if response.status_code == 0 else None
                if attempt == 0 and isinstance(error, _CLOSED):
                    RUN.measures[operation].resent += 1
                    response.success()
                    continue
                document = repr(error) if error is not None else _document(response.content)
                wrong = good(response.status_code, document)
                if wrong is None:
                    response.success()
                else:
                    response.failure(wrong)
                break
        position = None if response.headers is None else response.headers.get("X-Position")
        return response.status_code, document, position


def _document(content: bytes | None) -> Any:
    try:
        return orjson.loads(content or b"null")
    except orjson.JSONDecodeError:
        return None


class Reader(Person):
    """Works without watching."""

    weight = 6


class SseWatcher(Person):
    """Works and watches as a browser does by SSE."""

    weight = 2
    watching = "sse"


class WebSocketWatcher(Person):
    """Works and watches by WebSocket."""

    weight = 2
    watching = "ws"


@_on(events.init_command_line_parser)
def add_options(parser: LocustArgumentParser) -> None:
    """What a generator is told beside Locust's own options."""
    parser.add_argument("--world", required=True, help="JSON file of task ids by project")
    parser.add_argument("--results", default="", help="file to write what was measured to")
    parser.add_argument("--shard", default="0/1", help="this generator's number, and how many there are")
    parser.add_argument("--think", default="1:3", help="seconds between two actions of a user, from:to")


@_on(events.user_error)
def stumbled(exception: Exception, **_: object) -> None:
    """A user broke off what it did: an answer was not of the form, or we are wrong ourselves."""
    RUN.measures.fail("user", type(exception).__name__, repr(exception))


@_on(events.test_start)
def deal(environment: Environment, **_: object) -> None:
    """Deal out the desks."""
    options = environment.parsed_options
    assert options is not None
    number, of = map(int, options.shard.split("/"))
    RUN.world = World(read_world(Path(options.world)), shard=(number, of), users=options.num_users)
    low, high = map(float, options.think.split(":"))
    Person.wait_time = between(low, high) if high > 0 else constant(0)


@_on(events.spawning_complete)
def arrived(**_: object) -> None:
    """All users are here: what is timed counts from a little later on."""
    gevent.spawn_later(SETTLE_S, RUN.start_clocks)


@_on(events.test_stopping)
def leaving(**_: object) -> None:
    """The time is over."""
    RUN.window, RUN.used = (RUN.window[0], time.time()), time.process_time() - RUN.used


@_on(events.test_stop)
def done(environment: Environment, **_: object) -> None:
    """Everybody has left: see what the streams still hear, and write it all down."""
    RUN.settle()
    options = environment.parsed_options
    assert options is not None
    if options.results:
        Path(options.results).write_text(json.dumps(RUN.to_json()))
