"""What both servers must do alike, or their figures say nothing about each other."""

import json
import uuid
from collections.abc import Iterator

from driver import Answered, Wish, ask, drive, request
from sides import Side

MODEL = {"name": "model-a", "version": "1"}
_OTHER = {"name": "model-b", "version": "1"}
_BATCH = 500
_MAKE_S = 60.0


def start(task: str, phase: str, **rest: object) -> bytes:
    """The request that starts a session."""
    return request("POST", f"/v1/tasks/{task}/sessions", {"phase": phase, "model": MODEL, **rest})


async def new_project(side: Side) -> str:
    """The id of a new project."""
    project = f"bench-{uuid.uuid4().hex[:12]}"
    status, _ = await ask(side.port, request("PUT", f"/v1/projects/{project}", {}))
    if status != 201:
        raise RuntimeError(f"{side.name}: a project was answered with {status}")
    return project


async def new_tasks(side: Side, project: str, count: int) -> list[str]:
    """The ids of so many new tasks. This is set-up: each server may do it in its fastest way."""
    path = f"/v1/projects/{project}/tasks"
    if side.bulk:
        made: list[str] = []
        while len(made) < count:
            _, ids = await ask(side.port, request("POST", path, {"count": min(_BATCH, count - len(made))}))
            made += ids
        return made
    tasks: list[str] = []

    def told(status: int, body: bytes) -> None:
        if status != 201:
            raise RuntimeError(f"{side.name}: a task was answered with {status} {body!r}")
        tasks.append(json.loads(body)["id"])

    content = request("POST", path, {"title": "task"})
    clients = 32

    def wishes(share: int) -> Iterator[Wish]:
        for _ in range(share):
            yield content, told

    shares = [count // clients + (number < count % clients) for number in range(clients)]
    await drive(side.port, [wishes(share) for share in shares if share], _MAKE_S)
    return tasks


async def check_rule(side: Side) -> None:
    """Ask for everything the rule knows, and for one session sixteen times at once.

    Raises:
        RuntimeError: the server answers otherwise than the rule says.
    """
    project = await new_project(side)
    task, other = await new_tasks(side, project, 2)

    async def expect(wanted: tuple[int, str | None], **rest: object) -> str:
        status, answer = await ask(side.port, start(task, "run", **rest))
        if (status, answer.get("outcome")) != wanted:
            raise RuntimeError(f"{side.name}: {rest} was answered with {status} {answer}")
        return str(answer["session"]["id"]) if "session" in answer else ""

    first = await expect((201, "created"))
    if await expect((200, "existing")) != first:
        raise RuntimeError(f"{side.name}: the existing session is another one")
    await expect((409, None), on_conflict="reject")
    await expect((409, None), model=_OTHER)
    await expect((409, None), model=_OTHER, on_conflict="replace")
    await expect((409, None), model=_OTHER, on_conflict="replace", confirm={"session_id": str(uuid.uuid4())})
    second = await expect((201, "replaced"), model=_OTHER, on_conflict="replace", confirm={"session_id": first})
    await expect((409, None), on_conflict="restart", confirm={"session_id": first})
    third = await expect((201, "replaced"), on_conflict="restart", confirm={"session_id": second})
    statuses: list[int] = []
    told: Answered = lambda status, _: statuses.append(status)  # noqa: E731  its type is an alias
    await drive(side.port, [iter([(start(other, "plan"), told)]) for _ in range(16)], 1.0)
    if sorted(statuses) != [200] * 15 + [201]:
        raise RuntimeError(f"{side.name}: sixteen starts at once were answered with {statuses}")
    for of_task, live in ((task, [third]), (other, None)):
        _, answer = await ask(side.port, request("GET", f"/v1/tasks/{of_task}/sessions"))
        ids = [session["id"] for session in answer["data"]]
        if (live is not None and ids != live) or len(ids) != 1:
            raise RuntimeError(f"{side.name}: live are {ids}")
