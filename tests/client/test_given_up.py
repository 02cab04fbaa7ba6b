"""What is given up of a use of a provider that was cancelled, against a server that takes its time."""

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from sessioncast import Client, Limits, NotFound, Use
from support.samples import AT
from support.scripted import Reply, ScriptedServer, Seen, Streamed

ROW: dict[str, Any] = {
    **dict.fromkeys(("started_at", "last_used_at"), AT),
    "id": "r",
    "provider_session_id": "A",
    "session_id": "s",
    "operation": "update",
    "is_resumable": True,
    "resume_failure_count": 0,
    "fence": 2,
    "state": "open",
}
OPENED, RENEWED = Reply(201, ROW), Reply(200, ROW)
DECIDED = Reply(200, {"decision": "fresh", "reason": "none", "fence": 2})


def told(seen: Seen) -> Any:
    """The body."""
    return json.loads(seen.body)


async def test_a_turn_that_came_unseen_is_found_and_given_up(server: ScriptedServer, quick: Limits) -> None:
    """Cancelled while the answer was on its way: the same key says that the turn has come, then which one it was."""
    reused = Reply(422, {"code": "idempotency_key_reused"})
    server.say(Streamed([]), reused, DECIDED, Reply(204))
    async with Client(server.url, limits=quick) as client:
        asking = asyncio.create_task(client.providers.resume("s", wait_s=30))
        await server.saw(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert len(server.seen) == 1  # whoever cancels is not kept
    *asked, given_up = server.seen
    assert len({seen.headers["idempotency-key"] for seen in asked}) == 1
    assert [told(seen) for seen in asked] == [{"wait_s": 30}, {"wait_s": 0}, {"wait_s": 30}]
    assert (given_up.method, given_up.path) == ("DELETE", "/v1/sessions/s/turn")
    assert given_up.headers["x-session-fence"] == "2"


async def test_giving_up_is_given_up(server: ScriptedServer, quick: Limits) -> None:
    """A server that does not answer does not keep the client open: only until `Limits.give_up_s`."""
    server.say(Streamed([]), Streamed([]))
    async with Client(server.url, limits=replace(quick, give_up_s=0.1)) as client:
        asking = asyncio.create_task(client.providers.resume("s"))
        await server.saw(1)
        asking.cancel()
        await asyncio.wait({asking})
        await server.saw(2)
    assert len(server.seen) == 2


async def test_a_branch_that_is_not_wanted_any_more_asks_for_nothing(server: ScriptedServer, quick: Limits) -> None:
    """It has no turn to give up, neither where it was cancelled nor where it could not be opened."""
    server.say(Streamed([]), DECIDED, Reply(404, {"code": "not_found"}))
    async with Client(server.url, limits=quick) as client:
        asking = asyncio.create_task(client.providers.resume("s", fork=True))
        await server.saw(1)
        asking.cancel()
        await asyncio.wait({asking})
        with pytest.raises(NotFound):
            await client.resumable("s", fork=True).__aenter__()
    assert len(server.seen) == 3


async def test_a_thread_that_does_not_end_is_not_waited_for_for_ever(
    server: ScriptedServer, quick: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    """After `Limits.thread_s` it is closed, and what the thread still wants to record is refused."""
    server.say(DECIDED, OPENED, RENEWED)
    inside, gate, refused = asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def run(use: Use) -> None:
        loop.call_soon_threadsafe(inside.set)
        assert gate.wait(30)
        try:
            use.record(tokens=1)  # type: ignore[unused-coroutine]  # it is a view, whose methods block
        except RuntimeError:
            loop.call_soon_threadsafe(refused.set)

    async def update(client: Client) -> None:
        async with client.resumable("s") as attempt:
            await attempt.run(run)

    async with Client(server.url, limits=replace(quick, thread_s=0.05)) as client:
        updating = asyncio.create_task(update(client))
        await inside.wait()
        updating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await updating
        gate.set()
        await refused.wait()
    assert "still runs in a thread" in caplog.text
    assert told(server.seen[2]) == {"ended": True, "is_resumable": False}
