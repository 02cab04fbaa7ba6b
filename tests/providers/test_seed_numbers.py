"""What the seed measured comes out to the token, and what it left undone is done: ten tasks at once, no lock met."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from sessioncast import Client
from support.node import NodeFactory
from support.provider import Answer, Habits, Provider, Work, recorded

_TOKENS = (49_102, 61_377, 38_940, 57_266, 55_504)
_TASKS = 10
_ITERATIONS = (30, 50)
_PROJECT = "seed"


class Agent:
    """Runs the provider with the id that it was given, as the seed's did."""

    def __init__(self, provider: Provider) -> None:
        self.session_id: str | None = "of-before"
        self._provider = provider

    async def run(self, work: Work) -> Answer:
        """What the provider says of a run."""
        answer = await self._provider.run(work, session_id=self.session_id)
        assert answer.session_id == self.session_id
        return answer


@pytest.fixture
async def client(node_factory: NodeFactory, database_url: str) -> Client:
    """A client of a node on each database."""
    node = await node_factory(env={"SESSIONCAST_DATABASE_URL": database_url})
    return Client(node.url)


async def new_session(client: Client, title: str) -> tuple[str, str]:
    """Ids of a new task and of a session of it."""
    await client.projects.put(_PROJECT)
    task = await client.tasks.create(_PROJECT, title)
    return task.id, (await client.sessions.start(task.id, "run", "m-1")).session.id


async def iterate(client: Client, session: str, agent: Agent, works: list[Work]) -> list[str]:
    """One iteration after the other, at once; the ids that they had."""
    ids = []
    for number, work in enumerate(works, 1):
        async with client.iteration(session, iteration=number, agent=agent) as iteration:
            assert agent.session_id == iteration.provider_session_id
            ids.append(iteration.provider_session_id)
            await recorded(iteration, await agent.run(work))
        assert agent.session_id == "of-before"
    return ids


async def test_five_iterations(client: Client, tmp_path: Path) -> None:
    """Five iterations of 262,189 tokens and 10 turns average 52,437.8, by task, session and project alike."""
    provider = Provider(tmp_path / "provider", Habits())
    async with client:
        task, session = await new_session(client, "five")
        works = [Work(prompt_tokens=tokens, turns=2) for tokens in _TOKENS]
        ids = await iterate(client, session, Agent(provider), works)
        ask = client.providers.metrics
        for found in (await ask(task=task), await ask(session=session), await ask(project=_PROJECT)):
            assert (found.total_tokens, found.total_turns, found.num_iterations) == (262_189, 10, 5)
            assert found.avg_tokens_per_iteration == 52_437.8
            assert (found.total_cached_tokens, found.total_cost, found.cost_known) == (0, 0.786567, True)
            assert [row.provider_session_id for row in found.sessions] == ids
            assert [row.usage.tokens for row in found.sessions] == list(_TOKENS)
            assert [row.iteration for row in found.sessions] == [1, 2, 3, 4, 5]
            assert {row.state for row in found.sessions} == {"ended"}


@pytest.mark.timeout(300)  # half a minute where nobody else works
async def test_ten_tasks_at_once(client: Client, database_url: str, tmp_path: Path) -> None:
    """Ten tasks of 30 to 50 iterations each, without a pause and in parallel, meet no «already in use», and add up.

    On PostgreSQL a fifth of that: what is there to be met is met in it, and the provider's processes take their time.
    """
    fewest, most = _ITERATIONS if database_url.startswith("sqlite") else (6, 10)
    chance = random.Random(1104)
    provider = Provider(tmp_path / "provider", Habits(lock_s=2))

    def some() -> list[Work]:
        count = chance.randint(fewest, most)
        return [Work(prompt_tokens=chance.randint(1_000, 90_000), turns=chance.randint(1, 4)) for _ in range(count)]

    async with client:
        tasks = [(*await new_session(client, f"task {number}"), some()) for number in range(_TASKS)]
        ids = await asyncio.gather(*(iterate(client, session, Agent(provider), works) for _, session, works in tasks))
        calls = provider.calls()
        assert Counter(call.outcome for call in calls) == {"done": sum(len(works) for _, _, works in tasks)}
        assert Counter(call.session_id for call in calls) == Counter(id_ for used in ids for id_ in used)
        for (task, _, works), used in zip(tasks, ids, strict=True):
            found = await client.providers.metrics(task=task, limit=200)
            assert found.num_iterations == len(works)
            assert found.total_tokens == sum(work.prompt_tokens for work in works)
            assert found.total_turns == sum(work.turns for work in works)
            assert [row.provider_session_id for row in found.sessions] == used
        whole = await client.providers.metrics(project=_PROJECT)
        assert whole.num_iterations == len(calls)
        assert whole.total_tokens == sum(call.tokens for call in calls)
