"""Projects that come and go, what is in them, and those who change it."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from endurance.web import Answer, Client

STEADY = "steady"
"""The project that stays."""
_TASKS = 4
_AT_ONCE = 4
_PHASES = ("plan", "run", "verify")
_NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass(slots=True)
class Project:
    """One of them.

    Attributes:
        live: ids of sessions by task and phase, as far as they are known.
        position: of the latest change that was answered.
    """

    name: str
    tasks: list[str] = field(default_factory=list)
    live: dict[tuple[str, str], str] = field(default_factory=dict)
    position: str | None = None

    def saw(self, answer: Answer) -> None:
        """Keep the position of a change, if it is the highest yet."""
        if answer.position and (self.position is None or _offset(answer.position) > _offset(self.position)):
            self.position = answer.position


class World:
    """The projects that there are now.

    Attributes:
        outcomes: how often changes were answered by each status.
        own_session, own_heard: a session that one writer alone changes, and the positions of its changes.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._made = 0
        self.projects: list[Project] = []
        self.outcomes: Counter[str] = Counter()
        self.own_session = ""
        self.own_positions: list[str] = []

    @property
    def steady(self) -> Project:
        """The one that stays."""
        return self.projects[0]

    async def begin(self) -> None:
        """Make the one that stays, and a session for one writer alone."""
        client = Client(self._port)
        try:
            self.projects.append(await self._project(client, STEADY))
            task = (await client.ask("POST", f"/v1/projects/{STEADY}/tasks", {"title": "own"})).document["id"]
            made = await client.ask("POST", f"/v1/tasks/{task}/sessions", {"phase": "run", "model": {"name": "m"}})
            self.steady.saw(made)
            self.own_session = made.document["session"]["id"]
        finally:
            client.close()

    async def renew(self, every_s: float) -> None:
        """Let a project come, and the oldest but the steady one go, for ever."""
        client = Client(self._port)
        try:
            while True:
                self._made += 1
                self.projects.append(await self._project(client, f"passing-{self._made}"))
                del self.projects[1:-_AT_ONCE]
                await asyncio.sleep(every_s)
        finally:
            client.close()

    async def write(self, pause_s: float) -> None:
        """Change anything, for ever."""
        client = Client(self._port)
        try:
            while True:
                project = random.choice(self.projects)
                try:
                    self._count(project, await self._change(client, project))
                except (OSError, EOFError):
                    self.outcomes["broken off"] += 1
                    client.close()
                await asyncio.sleep(random.expovariate(1 / pause_s))
        finally:
            client.close()

    async def write_alone(self, pause_s: float) -> None:
        """Output of the session that nobody else changes, for ever."""
        client = Client(self._port)
        try:
            while True:
                # A change that was sent is waited for, or nobody could say what is to be heard.
                change = asyncio.ensure_future(self._own(client))
                try:
                    self._count(self.steady, await asyncio.shield(change))
                finally:
                    await asyncio.wait([change])
                await asyncio.sleep(pause_s)
        finally:
            client.close()

    async def _own(self, client: Client) -> Answer:
        answer = await client.ask("POST", f"/v1/sessions/{self.own_session}/output", _output())
        if answer.position is not None:
            self.own_positions.append(answer.position)
        return answer

    def _count(self, project: Project, answer: Answer) -> None:
        self.outcomes[str(answer.status)] += 1
        project.saw(answer)

    async def _project(self, client: Client, name: str) -> Project:
        project = Project(name)
        project.saw(await client.ask("PUT", f"/v1/projects/{name}", {}))
        for number in range(_TASKS):
            answer = await client.ask("POST", f"/v1/projects/{name}/tasks", {"title": f"task {number}"})
            project.tasks.append(answer.document["id"])
            project.saw(answer)
        return project

    async def _change(self, client: Client, project: Project) -> Answer:
        dice = random.random()
        place = (random.choice(project.tasks), random.choice(_PHASES))
        session = project.live.get(place)
        if session is None or dice < 0.2:
            return await self._start(client, project, place)
        if dice < 0.6:
            return await client.ask("POST", f"/v1/sessions/{session}/output", _output())
        if dice < 0.8:
            wish = {"status": random.choice(("running", "completed")), "metadata": {"note": random.random()}}
            return await client.ask("PATCH", f"/v1/sessions/{session}", wish)
        if dice < 0.9:
            del project.live[place]
            return await client.ask("DELETE", f"/v1/sessions/{session}")
        if dice < 0.95:
            return await client.ask("GET", f"/v1/tasks/{place[0]}/sessions")
        return await self._bulk(client, project)

    async def _start(self, client: Client, project: Project, place: tuple[str, str]) -> Answer:
        task, phase = place
        wish = {"phase": phase, "model": {"name": random.choice("abc")}, "on_conflict": "replace"}
        if place in project.live:
            wish |= {"confirm": {"session_id": project.live[place]}}
        answer = await client.ask("POST", f"/v1/tasks/{task}/sessions", wish)
        if answer.status in {200, 201}:
            project.live[place] = answer.document["session"]["id"]
        else:
            project.live.pop(place, None)
        return answer

    async def _bulk(self, client: Client, project: Project) -> Answer:
        places = [(task, random.choice(_PHASES)) for task in project.tasks]
        items = [
            {
                "task_id": task, "phase": phase, "model": {"name": "b"},
                "confirm": {"session_id": project.live.get((task, phase), _NOBODY)},
            }
            for task, phase in places
        ]  # fmt: skip
        answer = await client.ask("POST", f"/v1/projects/{project.name}/sessions/bulk", {"replace": items})
        if answer.status == 207:
            for place, item in zip(places, answer.document["replace"], strict=True):
                if item["status"] == 201:
                    project.live[place] = item["session"]["id"]
                else:
                    project.live.pop(place, None)
        return answer


def _output() -> dict[str, Any]:
    return {"chunks": [{"stream": "log", "text": "x" * random.randrange(20, 400)}]}


def _offset(position: str) -> int:
    return int(position.rpartition(":")[2])
