"""sessioncast as it is loaded: projects with sessions, whose output is published."""

import contextlib
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from crowd.frames import masked
from crowd.link import ask, ask_all, request
from crowd.reactor import Reactor
from crowd.receivers import Step
from crowd.side import SSE, Side, get, upgrade
from crowd.tree import Tree, free_port, run

_PLACES = [(phase, debug) for phase in ("plan", "run", "verify") for debug in (False, True)]
"""A task has room for so many sessions."""
_POSITION = re.compile(rb"\r\nx-position: ([^\r]+)\r", re.IGNORECASE)
_SETTINGS = {
    "SESSIONCAST_LOG_LEVEL": "warning",  # the rivals have no access log
    "SESSIONCAST_WS_PING_S": "3600",  # who only counts bytes answers no ping
}


class Ours(Side):
    """sessioncast on SQLite with what `sessioncast serve` sets, but for the log of requests and the pings.

    Args:
        projects: channels; subscribers are spread over them evenly.
        sessions: of each project.
        active: of these, such as are published to, in turns.
        grouped: whether each subscriber follows a session of its own instead of its project.
        text: bytes of output in an event.

    Attributes:
        projects: their ids.
    """

    resumes = True
    ours = True

    def __init__(
        self, port: int, tree: Tree, *, lane: str, projects: int, sessions: int, active: int, text: int,
        grouped: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(port, tree)
        self.name = f"sessioncast {'portable' if lane == 'portable' else 'fast'}"
        self.projects = [f"load-{number}" for number in range(projects)]
        self._sessions = _populate(port, self.projects, sessions)
        self._grouped = grouped
        self._text = text
        published = zip(*(each[:active] for each in self._sessions), strict=True)
        self._turns = itertools.cycle([one for row in published for one in row])
        self._greeting = cache(self._greet)

    def steps(self, transport: str, index: int, position: str | None = None) -> Sequence[Step]:
        number = index % len(self.projects)
        sessions = self._sessions[number]
        session = sessions[index // len(self.projects) % len(sessions)] if self._grouped else None
        return self._greeting(transport, self.projects[number], session, position)

    def compose(self, connection: int, mark: bytes) -> bytes:  # noqa: ARG002  sessions take turns for all
        text = mark.decode() + "x" * (self._text - len(mark))
        body = b'{"chunks":[{"stream":"log","text":"' + text.encode() + b'"}]}'
        return request("POST", f"/v1/sessions/{next(self._turns)}/output", body)

    def position(self, answer: bytes) -> str:
        found = _POSITION.search(answer)
        assert found is not None, answer
        return found[1].decode()

    def _greet(self, transport: str, project: str, session: str | None, position: str | None) -> Sequence[Step]:
        if transport == SSE:
            query = [f"session={session}"] if session else []
            if position is None:
                query.append("snapshot=never")
            path = f"/v1/projects/{project}/events{'?' if query else ''}{'&'.join(query)}"
            return [Step(get(path, *([f"Last-Event-ID: {position}"] if position else [])), b"event: ready")]
        wish = {"op": "subscribe", "project": project, "filter": {"session": [session]} if session else {}}
        wish |= {"position": position} if position else {"snapshot": "never"}
        return [Step(upgrade("/v1/ws"), b"\r\n\r\n"), Step(masked(json.dumps(wish).encode()), b'"subscribed"')]


def _populate(port: int, projects: list[str], sessions: int) -> list[list[str]]:
    """Ids of live sessions, by project."""
    reactor = Reactor()
    ask_all(reactor, port, [request("PUT", f"/v1/projects/{project}", b"{}") for project in projects])
    tasks = -(-sessions // len(_PLACES))
    wishes = [
        request("POST", f"/v1/projects/{project}/tasks", b'{"title":"load"}')
        for project in projects
        for _ in range(tasks)
    ]
    made = [json.loads(_body(answer))["id"] for answer in ask_all(reactor, port, wishes)]
    wishes = []
    for number in range(len(projects)):
        places = itertools.product(made[number * tasks : (number + 1) * tasks], _PLACES)
        for task, (phase, debug) in itertools.islice(places, sessions):
            wish = {"phase": phase, "debug": debug, "model": {"name": "m"}}
            wishes.append(request("POST", f"/v1/tasks/{task}/sessions", json.dumps(wish).encode()))
    ids = [json.loads(_body(answer))["session"]["id"] for answer in ask_all(reactor, port, wishes)]
    reactor.close()
    return [ids[number * sessions : (number + 1) * sessions] for number in range(len(projects))]


def _body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@contextlib.contextmanager
def ours(
    folder: Path,
    *,
    lane: str = "auto",
    projects: int = 1,
    sessions: int = 30,
    active: int | None = None,
    text: int = 200,
    grouped: bool = False,
) -> Iterator[Ours]:
    """A server with a fresh database."""
    port = free_port()
    url = f"sqlite:///{folder.absolute() / 'sessioncast.db'}"
    command = [sys.executable, "-m", "sessioncast", "serve", "--database-url", url, "--port", str(port)]
    environment = _SETTINGS | {"SESSIONCAST_LANE": lane}
    with run(command, port, folder, environment=environment, name="sessioncast") as pid:
        yield Ours(
            port, Tree([pid]), lane=lane, projects=projects, sessions=sessions, active=active or sessions, text=text,
            grouped=grouped,
        )  # fmt: skip


def metrics(reactor: Reactor, port: int) -> dict[str, float]:
    """What the server counted, by the sample's name with its labels."""
    lines = _body(ask(reactor, port, request("GET", "/metrics"))).decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}
