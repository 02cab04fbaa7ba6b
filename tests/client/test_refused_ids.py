"""Ids, and what comes with them, that a real node refuses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sessioncast import Client, Invalid, ProviderState, SecurityViolation, Usage, Use
from support.node import NodeProcess
from support.providing import a_session, given, newest_id, rows


@pytest.fixture
async def client(node: NodeProcess) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(node.url) as client:
        yield client


@pytest.mark.parametrize("swallowed", [True, False])
async def test_an_id_that_was_refused_leaves_the_head(client: Client, swallowed: bool) -> None:
    """The provider told another than the one that was made for it: nobody is offered that, whoever hears of it."""
    other, session = await a_session(client), await a_session(client)
    a = given("A")
    async with client.iteration(other) as it:
        await it.record(provider_session_id=a)

    async def run(use: Use) -> None:
        try:
            await use.record(provider_session_id=a, tokens=1)
        except SecurityViolation:
            if not swallowed:
                raise

    async def update() -> None:
        async with client.resumable(session) as attempt:
            await attempt.run(run)

    if swallowed:
        await update()
    else:
        with pytest.raises(SecurityViolation):
            await update()
    (row,) = await rows(client, session)
    assert (row.state, row.is_resumable, row.usage) == (ProviderState.ENDED, False, Usage(tokens=1))
    assert await newest_id(client, session) is None


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        ({"tokens": -4, "structure_fingerprint": "x"}, {}),
        ({"structure_fingerprint": "x" * 201, "turns": 2}, {"turns": 2}),
        ({"structure_fingerprint": "x", "cost_usd": float("nan")}, {}),
    ],
)
async def test_what_is_wrong_beside_an_id_does_not_lose_it(client: Client, wrong: Any, kept: Any) -> None:
    """The record is refused, but the id that it told is the next one's to resume, and what was right is kept."""
    session, b = await a_session(client), given("B")

    async def run(use: Use) -> None:
        with pytest.raises((Invalid, ValueError)):
            await use.record(provider_session_id=b, **wrong)

    async with client.resumable(session) as attempt:
        await attempt.run(run)
    assert await newest_id(client, session) == b
    (row,) = await rows(client, session)
    assert (row.is_resumable, row.usage) == (True, Usage(**kept))
    assert row.structure_fingerprint == (None if kept else "x")


async def test_a_bad_id_beside_good_totals(client: Client) -> None:
    """One that is too long: refused, the totals are kept, and the made one is not offered."""
    session = await a_session(client)

    async def run(use: Use) -> None:
        with pytest.raises(Invalid):
            await use.record(provider_session_id="x" * 201, tokens=5)

    async with client.resumable(session) as attempt:
        await attempt.run(run)
    (row,) = await rows(client, session)
    assert (row.is_resumable, row.usage) == (False, Usage(tokens=5))
    assert await newest_id(client, session) is None
