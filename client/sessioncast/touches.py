"""What a request names: which of the things that a client may know it is about. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from sessioncast.answer import Answer
from sessioncast.errors import ProtocolError

Name = tuple[Literal["session", "task", "sessions"], str]


def read_of(path: str) -> Name | None:
    """Which read a path is, None: none that is cached."""
    match path.strip("/").split("/"):
        case ["v1", "sessions", id_]:
            return "session", unquote(id_)
        case ["v1", "tasks", id_]:
            return "task", unquote(id_)
        case ["v1", "tasks", id_, "sessions"]:
            return "sessions", unquote(id_)
    return None


@dataclass(slots=True)
class Touched:
    """What is touched.

    Attributes:
        sessions, tasks: ids; with a task goes the list of its sessions.
        all: it cannot be told, or there is no end to it.
    """

    sessions: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)
    all: bool = False

    @property
    def names(self) -> list[Name]:
        """The reads that show them."""
        names: list[Name] = [("session", id_) for id_ in sorted(self.sessions)]
        for id_ in sorted(self.tasks):
            names += [("task", id_), ("sessions", id_)]
        return names


def touched(path: str, body: Any, answer: Answer | None) -> Touched:
    """What a request to a path is about.

    Args:
        body: of the request.
        answer: None where there was none.
    """
    match [unquote(part) for part in path.strip("/").split("/")]:
        case ["v1", "sessions", id_, *rest]:
            return Touched({id_}, _named(body, None if rest == ["output"] else answer).tasks)
        case ["v1", "tasks", id_, *rest]:
            return Touched(_named(body, answer).sessions if rest else set(), {id_})
        case ["v1", "provider-sessions", *_]:
            found = _named(body, answer)
            found.all = not found.sessions
            return found
        case ["v1", "projects", _, "sessions", "bulk"]:
            found = _named(body, answer)
            found.all = answer is None
            return found
        case ["v1", "projects", _, "models", *_] | ["v1", "admin", *_]:
            return Touched(all=True)
    return Touched()


def _named(body: Any, answer: Answer | None) -> Touched:
    found = Touched()
    try:
        document = None if answer is None or not answer.body else answer.json()
    except ProtocolError:
        document = None
    for part in (*_objects(body), *_objects(document)):
        session, task, id_ = part.get("session_id"), part.get("task_id"), part.get("id")
        if isinstance(session, str):
            found.sessions.add(session)
        if isinstance(task, str):
            found.tasks.add(task)
            if isinstance(id_, str) and "phase" in part:
                found.sessions.add(id_)
    return found


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value. Its depth is bounded by the server's, 64."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part)
