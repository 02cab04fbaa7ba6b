"""A refused start is repeated with its confirmation by one call."""

import json
from typing import Any

import pytest

import sessioncast
from sessioncast import Client, Limits, ModelChangeRequiresConfirmation, SessionChanged
from support.samples import SESSION, refusal
from support.scripted import Reply, ScriptedServer

ASKED = Reply(409, refusal("model_change_requires_confirmation", existing="one"))
CHANGED = Reply(409, refusal("session_changed", existing="two"))
REPLACED = Reply(201, {"outcome": "replaced", "session": SESSION, "replaced": {**SESSION, "id": "one"}})
WISH: dict[str, Any] = {"agent": "a", "debug": True, "metadata": {"k": 1}, "treat_minor_as_change": True}


@pytest.mark.parametrize(
    ("on_conflict", "repeated"), [("ask", "replace"), ("replace", "replace"), ("restart", "restart")]
)
async def test_confirming_repeats_the_same_start(
    server: ScriptedServer, quick: Limits, on_conflict: Any, repeated: str
) -> None:
    """Nothing of what was asked for is lost but the asking; the confirmation comes on top, under a key of its own."""
    server.say(ASKED, REPLACED)
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ModelChangeRequiresConfirmation) as caught:
            await client.sessions.start("t/1", "Review", {"name": "m", "version": "2"}, on_conflict=on_conflict, **WISH)
        outcome = await caught.value.confirm()
    assert (outcome.outcome, outcome.session.id) == ("replaced", "s")
    first, second = (json.loads(seen.body) for seen in server.seen)
    assert second == {**first, "on_conflict": repeated, "confirm": {"session_id": "one"}}
    assert {seen.path for seen in server.seen} == {"/v1/tasks/t%2F1/sessions"}
    assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 2


async def test_somebody_faster_is_asked_about_anew(server: ScriptedServer, quick: Limits) -> None:
    """Each refusal confirms the session it describes, the first one again and again that of then, never a newer one."""
    server.say(ASKED, CHANGED, CHANGED, REPLACED)
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ModelChangeRequiresConfirmation) as first:
            await client.sessions.start("t", "run", "m")
        with pytest.raises(SessionChanged) as second:
            await first.value.confirm()
        with pytest.raises(SessionChanged):
            await first.value.confirm()
        assert second.value.existing.id == "two"
        assert (await second.value.confirm()).outcome == "replaced"
    confirmed = [json.loads(seen.body).get("confirm", {}).get("session_id") for seen in server.seen]
    assert confirmed == [None, "one", "one", "two"]


async def test_what_would_be_lost_can_be_downloaded_first(server: ScriptedServer, quick: Limits) -> None:
    """`export()` reads the session in the way, and leaves the question open."""
    server.say(ASKED, Reply(200, {"session": SESSION, "output": []}), REPLACED)
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ModelChangeRequiresConfirmation) as caught:
            await client.sessions.start("t", "run", "m")
        assert (await caught.value.export())["output"] == []
        assert (await caught.value.confirm()).outcome == "replaced"
    assert f"{server.seen[1].method} {server.seen[1].path}" == "GET /v1/sessions/one/export"


async def test_confirming_may_fail_like_any_start(server: ScriptedServer, quick: Limits) -> None:
    """A refusal of another kind comes through as what it is."""
    server.say(ASKED, Reply(422, {"code": "model_not_found", "detail": "Model Not Found"}))
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ModelChangeRequiresConfirmation) as caught:
            await client.sessions.start("t", "run", "m")
        with pytest.raises(sessioncast.ModelNotFound):
            await caught.value.confirm()
