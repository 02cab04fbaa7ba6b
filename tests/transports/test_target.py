"""Filters are checked against the store, with few reads for many who ask the same."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sessioncast_server.app import holds
from sessioncast_server.auth.principal import Principal, Scope
from sessioncast_server.db.errors import UnavailableError
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.problems import Problem
from sessioncast_server.transports.target import Target, Targets
from sessioncast_shared.filters import Filter
from support.hubs import Rig, rigged

ALL = Filter()
ANN = Principal("ann", None, frozenset({Scope.SESSIONS_READ}))
STRANGER = Principal("bob", frozenset({"other"}), frozenset({Scope.SESSIONS_READ}))


class Counted:
    """A database's `read`, counted; `error` is raised instead of reading.

    Attributes:
        reads: how many there were.
    """

    def __init__(self, read: Callable[..., Any]) -> None:
        self._read = read
        self.reads = 0
        self.error: Exception | None = None

    async def __call__(self, *args: Any, **more: Any) -> Any:
        """As the database's."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        return await self._read(*args, **more)


def held(tx: ReadTx, project: str, wishes: Filter, owner: str | None, *, last: bool) -> bool:
    """What a node looks for, threads apart."""
    return holds(tx, project, wishes)


class Desk:
    """Targets on a real database with a project `p`, a clock that stands still, and a counter of reads."""

    def __init__(self, rig: Rig, patch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.now = 0.0
        self.counted = Counted(rig.database.read)
        patch.setattr(rig.database, "read", self.counted)
        self.targets = Targets(rig.database, held, clock=lambda: self.now)

    async def check(self, wishes: Filter = ALL, *, by: Principal = ANN, project: str = "p") -> Target:
        """The target."""
        return await self.targets.check(project, wishes, by)

    async def status(self, wishes: Filter, *, by: Principal = ANN, project: str = "p") -> int:
        """What a stream of it is answered."""
        try:
            await self.check(wishes, by=by, project=project)
        except Problem as problem:
            return problem.status
        return 200


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A desk."""
    async with rigged(tmp_path) as rig:
        yield Desk(rig, monkeypatch)


async def test_a_storm_of_one_filter_costs_a_read_or_two(desk: Desk) -> None:
    """2,000 who ask at once get their targets by two reads: one for the first, one for all who came during it."""
    targets = await asyncio.gather(*(desk.check() for _ in range(2000)))
    assert {target.channel for target in targets} == {"p"}
    assert desk.counted.reads <= 2


async def test_a_storm_for_nothing_costs_as_little(desk: Desk) -> None:
    """2,000 who ask for what is not there are all told so, by two reads."""
    missing = Filter.of(tasks=[str(uuid4())])
    assert set(await asyncio.gather(*(desk.status(missing) for _ in range(2000)))) == {404}
    assert desk.counted.reads <= 2


async def test_what_was_just_made_is_found(desk: Desk) -> None:
    """Whoever asks after a project was made finds it, also while others ask for it all the time, from before it was."""
    for number in range(20):
        name = f"new-{number}"

        async def ask_on(name: str = name) -> None:
            while await desk.status(ALL, project=name) == 404:  # noqa: ASYNC110  it asks on: that is the test
                await asyncio.sleep(0)

        others = [asyncio.create_task(ask_on()) for _ in range(20)]
        await asyncio.sleep(0)
        await desk.rig.project(name)
        assert await desk.status(ALL, project=name) == 200
        await asyncio.gather(*others)


async def test_what_is_there_is_not_read_again_for_a_while(desk: Desk) -> None:
    """Within a second the same costs nothing; later it is read anew, and so is at once what was not there."""
    await desk.check()
    desk.now = 0.9
    await desk.check()
    assert desk.counted.reads == 1
    desk.now = 1.1
    await desk.check()
    assert desk.counted.reads == 2
    missing = Filter.of(tasks=[str(uuid4())])
    assert [await desk.status(missing), await desk.status(missing)] == [404, 404]
    assert desk.counted.reads == 4


async def test_what_is_remembered_is_bounded(desk: Desk) -> None:
    """With more filters than are remembered, the oldest is forgotten and read anew."""
    tasks = [(await desk.rig.task()).id for _ in range(11)]
    filters = [Filter.of(tasks=[tasks[at] for at in range(11) if number >> at & 1]) for number in range(1, 1003)]
    for wishes in filters:
        await desk.check(wishes)
    before = desk.counted.reads
    await desk.check(filters[-1])
    assert desk.counted.reads == before
    await desk.check(filters[0])
    assert desk.counted.reads == before + 1


async def test_who_may_not_see_it_is_told_nothing(desk: Desk) -> None:
    """A foreign project is 404 while others are given it; without the scope it is 403; neither is shared or read."""
    outcomes = await asyncio.gather(
        *(desk.status(ALL, by=principal) for principal in (ANN, STRANGER, Principal("eve", None, frozenset()), ANN))
    )
    assert outcomes == [200, 404, 403, 200]
    assert await desk.status(ALL, project="No project") == 404
    assert desk.counted.reads <= 2


async def test_projects_of_tasks_are_shared_but_not_rights(desk: Desk) -> None:
    """A task's and a session's URL are found by few reads; who may not see the project is told 404 each time."""
    task = (await desk.rig.task()).id
    wishes = Filter.of(tasks=[task])
    before = desk.counted.reads
    targets = await asyncio.gather(*(desk.targets.of_task(task, wishes, ANN) for _ in range(500)))
    assert {target.channel for target in targets} == {"p"}
    assert desk.counted.reads - before <= 4
    with pytest.raises(Problem, match="404"):
        await desk.targets.of_task(task, wishes, STRANGER)
    with pytest.raises(Problem, match="404"):
        await desk.targets.of_task(str(uuid4()), wishes, ANN)
    with pytest.raises(Problem, match="404"):
        await desk.targets.of_session(str(uuid4()), wishes, ANN)


async def test_an_error_reaches_all_and_is_not_remembered(desk: Desk) -> None:
    """While the store is away everybody hears so; once it is back, the next one is answered."""
    desk.counted.error = UnavailableError("away")
    outcomes = await asyncio.gather(*(desk.check() for _ in range(50)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    desk.counted.error = None
    assert (await desk.check()).channel == "p"
