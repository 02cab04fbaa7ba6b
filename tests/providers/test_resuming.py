"""Many programs update many sessions with a provider that locks, loses and hangs; what became of each is told."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sessioncast import AuditEntry, Client, ResumeWaits, Use
from support.node import NodeFactory
from support.provider import Call, Habits, Provider, Work

_PROJECT = "many"
_SESSIONS = {"sqlite": 8, "postgresql": 3}
"""With PostgreSQL fewer: what is there to be lost is lost in eight, and the provider's processes take their time."""
_PROGRAMS = 2
"""That update one session; each waits for the other's turn to end."""
_UPDATES = 7
"""Of each program."""
_COMPACT_EVERY = 4
_LOCK_S = 0.8
"""As the provider's 2 s to the client's waits of 1, 2 and 4 s, so to these."""
_WAITS = ResumeWaits(first_s=0.4, jitter_s=0.2)
_HANGS_AFTER_S = 6.0
"""A call that works takes a hundredth of it."""
_WORK = Work(project_tokens=20_000, prompt_tokens=500, output_tokens=300, turns=2)


@dataclass(frozen=True, slots=True)
class Update:
    """One update by the provider's log.

    Attributes:
        wanted: the id that the provider gave out last before.
        usable: whether the provider still has it.
        failed: calls that did not resume it.
        done: the call that did the work.
    """

    wanted: str | None
    usable: bool
    failed: list[Call]
    done: Call

    @property
    def resumed(self) -> bool:
        """Whether the wanted id was resumed in the end."""
        return self.done.resume is not None


def updates_of(calls: list[Call]) -> Iterator[Update]:
    """The updates of a session, whose calls follow each other."""
    wanted, fate, failed = None, None, list[Call]()
    for call in calls:
        if call.outcome != "done":
            failed.append(call)
            continue
        yield Update(wanted, fate == "kept", failed, call)
        wanted, fate, failed = call.session_id, call.fate, []
    assert not failed, "an update was left undone"


class Programs:
    """The programs that update one session, and its provider."""

    def __init__(self, client: Client, folder: Path, number: int) -> None:
        self._client = client
        self._number = number
        habits = Habits(
            seed=str(number), lock_s=_LOCK_S, forgets=0.05, corrupts=0.05, hangs=0.02, keep_id=number % 3 == 0
        )
        self.provider = Provider(folder / str(number), habits, timeout_s=_HANGS_AFTER_S)
        self.session = ""

    async def run(self) -> None:
        """Start the session, and let all programs update it as fast as they can."""
        task = await self._client.tasks.create(_PROJECT, f"task {self._number}")
        self.session = (await self._client.sessions.start(task.id, "run", "m-1")).session.id
        async with asyncio.TaskGroup() as programs:
            for _ in range(_PROGRAMS):
                programs.create_task(self._update())

    async def _update(self) -> None:
        for number in range(1, _UPDATES + 1):
            compact = number % _COMPACT_EVERY == 0
            fn = self.provider.compaction(_WORK) if compact else self.provider.update(_WORK)
            operation = "compact" if compact else "update"
            async with self._client.resumable(self.session, operation, wait_s=60, waits=_WAITS) as attempt:
                await attempt.run(fn)

    async def check(self) -> list[Update]:
        """What the server tells of the session is what the provider did.

        Every update is a link of the chain, with the id it resumed and the one it got, and none else is; the head is
        the last; the totals are the provider's; the audit has every decision, attempt, failure and success in order.
        """
        updates = list(updates_of(self.provider.calls()))
        assert len(updates) == _PROGRAMS * _UPDATES
        chain = await self._client.providers.chain(self.session, limit=200)
        assert [(row.resumed_from, row.provider_session_id) for row in chain.data] == [
            (update.done.resume, update.done.session_id) for update in updates
        ]
        assert {row.state for row in chain.data} == {"ended"}
        assert chain.head is not None
        assert chain.head.provider_session_id == updates[-1].done.session_id
        total = await self._client.providers.metrics(session=self.session)
        assert total.total_tokens == sum(update.done.tokens for update in updates)
        lines = [line async for line in self._client.providers.audit(_PROJECT, session=self.session)]
        assert [told(line) for line in reversed(lines)] == [line for update in updates for line in story(update)]
        return updates


def story(update: Update) -> Iterator[tuple[str, str, str]]:
    """The lines that an update must have left in the audit, by what the provider says."""
    if update.wanted is None:
        yield "resume_decided", "fresh", "none"
        return
    yield "resume_decided", "resume", update.wanted
    yield "resume_attempted", update.wanted, ""
    for count, call in enumerate(update.failed, 1):
        assert call.resume == update.wanted, "another id was tried than the newest one"
        yield "resume_failed", update.wanted, call.reason
        if call.reason in ("not_found", "corrupted"):
            yield "resume_decided", "fresh", "not_resumable"
        elif count == 3:
            yield "resume_decided", "fresh", "too_many_failures"
        else:
            yield "resume_decided", "resume", update.wanted
    if update.resumed:
        yield "resume_succeeded", update.wanted, ""


def told(line: AuditEntry) -> tuple[str, str, str]:
    """A line of the audit, as `story` has it."""
    data = line.data
    if line.action == "resume_decided":
        return line.action, data["decision"], data.get("reason") or data["provider_session_id"]
    return line.action, data["resumed_from"], data.get("reason", "")


@pytest.mark.timeout(300)  # half a minute where nobody else works
async def test_usable_ids_are_resumed(node_factory: NodeFactory, database_url: str, tmp_path: Path) -> None:
    """Of the ids that the provider still has more than 95 % are resumed; every update is done, and the audit tells how.

    Two programs update each of a few sessions as fast as they can, and compact it now and then.
    """
    node = await node_factory(env={"SESSIONCAST_DATABASE_URL": database_url})
    async with Client(node.url) as client:
        await client.projects.put(_PROJECT)
        count = _SESSIONS[database_url.partition(":")[0]]
        everyone = [Programs(client, tmp_path / "providers", number) for number in range(count)]
        async with asyncio.TaskGroup() as sessions:
            for programs in everyone:
                sessions.create_task(programs.run())
        updates = [update for programs in everyone for update in await programs.check()]
    usable = [update.resumed for update in updates if update.usable]
    assert sum(usable) / len(usable) > 0.95
    assert not any(update.resumed for update in updates if not update.usable)
    failures = Counter(call.outcome for update in updates for call in update.failed)
    assert failures.keys() <= {"in_use", "not_found", "corrupted", "hangs"}
    if database_url.startswith("sqlite:"):  # on a machine that is slow enough all locks are over before they are met
        assert failures.keys() >= {"not_found", "corrupted", "hangs"}, "the provider was kinder than it should be"


async def chain_of(client: Client) -> str:
    """A new session of a new task."""
    await client.projects.put(_PROJECT)
    task = await client.tasks.create(_PROJECT, "alone")
    return (await client.sessions.start(task.id, "run", "m-1")).session.id


async def test_a_lock_of_two_seconds_is_waited_for(node_factory: NodeFactory, tmp_path: Path) -> None:
    """With the waits that the client has by itself an id that stays locked for 2 s is resumed, within three tries."""
    node = await node_factory()
    provider = Provider(tmp_path / "provider", Habits(lock_s=2))
    async with Client(node.url) as client:
        session = await chain_of(client)
        for _ in range(3):
            async with client.resumable(session) as attempt:
                await attempt.run(provider.update(_WORK))
    updates = list(updates_of(provider.calls()))
    assert [update.resumed for update in updates] == [False, True, True]
    assert all({call.outcome for call in update.failed} <= {"in_use"} for update in updates)
    assert all(len(update.failed) <= 2 for update in updates)


async def test_one_that_hangs_for_good_is_given_up(node_factory: NodeFactory, tmp_path: Path) -> None:
    """An id that the provider has and never resumes is tried three times; the update is done afresh, and so noted."""
    node = await node_factory()
    hanging = Provider(tmp_path / "provider", Habits(lock_s=0, hangs=1), timeout_s=2)
    patient = Provider(tmp_path / "provider", Habits(lock_s=0))

    async def update(use: Use) -> None:
        await (patient if use.resume_id is None else hanging).update(_WORK)(use)

    async with Client(node.url) as client:
        session = await chain_of(client)
        for _ in range(2):
            async with client.resumable(session, waits=_WAITS) as attempt:
                await attempt.run(update)
        _, last = updates_of(patient.calls())
        assert [call.outcome for call in last.failed] == ["hangs"] * 3
        assert not last.resumed
        lines = [line async for line in client.providers.audit(_PROJECT, session=session)]
        assert [told(line) for line in reversed(lines)][1:] == list(story(last))
        found = await client.providers.chain(session)
        assert [row.resume_failure_count for row in found.data] == [3, 0]
        assert found.head is not None
        assert found.head.provider_session_id == last.done.session_id
