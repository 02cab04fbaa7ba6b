"""Which project and which tasks a user works on."""

import json
from dataclasses import dataclass
from pathlib import Path

SHARED = 1
"""Tasks of each project that all its users work on: there they meet."""
OWN = 4
"""Tasks that a user has alone, when there are as many."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What one user works on.

    Attributes:
        own: tasks that nobody else changes: what the server says of them is known beforehand.
        shared: tasks that all users of the project change.
        seen: all tasks of the project, to look at.
    """

    project: str
    own: list[str]
    shared: list[str]
    seen: list[str]


class World:
    """Projects with their tasks, dealt to the users of one generator.

    Args:
        shard: this generator's number and how many there are; each has projects to itself.
        users: of this generator.
    """

    def __init__(self, tasks: dict[str, list[str]], *, shard: tuple[int, int], users: int) -> None:
        number, count = shard
        self._tasks = {project: tasks[project] for project in sorted(tasks)[number::count]}
        if not self._tasks:
            raise ValueError(f"{len(tasks)} projects are too few for {count} generators")
        self._projects = list(self._tasks)
        self._crowd = -(-users // len(self._projects))
        fewest = min(map(len, self._tasks.values()))
        if fewest < SHARED + self._crowd:
            raise ValueError(f"{fewest} tasks are too few for {self._crowd} users of a project and {SHARED} shared")

    def desk(self, user: int) -> Desk:
        """The desk of the user of this number, counted from 0 in each generator."""
        project = self._projects[user % len(self._projects)]
        place = user // len(self._projects) % self._crowd
        tasks = self._tasks[project]
        return Desk(project, tasks[SHARED:][place :: self._crowd][:OWN], tasks[:SHARED], tasks)


def read_world(path: Path) -> dict[str, list[str]]:
    """Tasks by project, as `write_world` wrote them."""
    found: dict[str, list[str]] = json.loads(path.read_text())
    return found


def write_world(path: Path, tasks: dict[str, list[str]]) -> None:
    """Keep tasks by project in a file."""
    path.write_text(json.dumps(tasks))
