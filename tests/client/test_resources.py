"""What each typed call sends, and what it makes of the answer."""

import json
from typing import Any

import pytest

import sessioncast
from sessioncast import Client, Limits
from support.samples import AT, SESSION, TASK
from support.scripted import Reply, ScriptedServer

FLAG = {"name": "f", "state": "percentage", "percentage": 25.0, "updated_at": AT, "updated_by": "ann"}
MODEL = {"project_id": "p", "name": "org/m 1", "version": 1, "created_at": AT, "updated_at": AT}
CHUNKS = [{"seq": seq, "stream": "log", "text": str(seq), "at": AT} for seq in (1, 2, 3)]


@pytest.mark.parametrize(
    ("call", "answer", "sent", "body"),
    [
        (lambda c: c.tasks.create("p", "T"), TASK, "POST /v1/projects/p/tasks", {"title": "T"}),
        (
            lambda c: c.tasks.create("p", "T", milestone="M", metadata={"k": 1}),
            TASK,
            "POST /v1/projects/p/tasks",
            {"title": "T", "milestone": "M", "metadata": {"k": 1}},
        ),
        (lambda c: c.tasks.get("t"), {**TASK, "sessions": {"run": SESSION}}, "GET /v1/tasks/t", None),
        (
            lambda c: c.tasks.patch("t", title="U", milestone=None),
            TASK,
            "PATCH /v1/tasks/t",
            {"title": "U", "milestone": None},
        ),
        (
            lambda c: c.sessions.start("t", sessioncast.Phase.RUN, "m"),
            {"outcome": "created", "session": SESSION},
            "POST /v1/tasks/t/sessions",
            {"phase": "run", "on_conflict": "ask", "model": {"name": "m"}},
        ),
        (
            lambda c: c.sessions.start(
                "t",
                "Review",
                {"name": "m", "version": "2"},
                agent=["a"],
                debug=True,
                metadata={},
                on_conflict="replace",
                confirm={"session_id": "s"},
                treat_minor_as_change=True,
            ),
            {"outcome": "replaced", "session": SESSION, "replaced": SESSION},
            "POST /v1/tasks/t/sessions",
            {
                "phase": "Review",
                "model": {"name": "m", "version": "2"},
                "agent": ["a"],
                "debug": True,
                "metadata": {},
                "on_conflict": "replace",
                "confirm": {"session_id": "s"},
                "treat_minor_as_change": True,
            },
        ),
        (lambda c: c.sessions.get("s"), SESSION, "GET /v1/sessions/s", None),
        (
            lambda c: c.sessions.list("t", phase="run", debug=False),
            {"data": [SESSION], "next": None},
            "GET /v1/tasks/t/sessions?debug=false&phase=run",
            None,
        ),
        (
            lambda c: c.sessions.patch("s", status=sessioncast.Status.RUNNING, agent=None),
            SESSION,
            "PATCH /v1/sessions/s",
            {"status": "running", "agent": None},
        ),
        (
            lambda c: c.sessions.find("t", "run", min_position="e:7"),
            {"data": [SESSION], "next": None},
            "GET /v1/tasks/t/sessions?debug=false&min_position=e:7&phase=run",
            None,
        ),
        (lambda c: c.sessions.get("s", min_position="e:7"), SESSION, "GET /v1/sessions/s?min_position=e:7", None),
        (lambda c: c.models.list("p"), {"data": [MODEL], "next": None}, "GET /v1/projects/p/models", None),
        (
            lambda c: c.models.list("p", limit=2, after="x"),
            {"data": [MODEL], "next": None},
            "GET /v1/projects/p/models?after=x&limit=2",
            None,
        ),
        (lambda c: c.models.register("p", "org/m 1"), MODEL, "PUT /v1/projects/p/models/org%2Fm%201", None),
        (lambda c: c.flags.list(), {"data": [FLAG], "next": None}, "GET /v1/admin/flags", None),
        (lambda c: c.flags.get("f"), FLAG, "GET /v1/admin/flags/f", None),
        (lambda c: c.flags.set("f", "on"), FLAG, "PUT /v1/admin/flags/f", {"state": "on"}),
        (lambda c: c.flags.set("f", "off"), FLAG, "PUT /v1/admin/flags/f", {"state": "off"}),
        (lambda c: c.flags.set("f", 25), FLAG, "PUT /v1/admin/flags/f", {"state": "percentage", "percentage": 25}),
        (lambda c: c.sessions.export("s"), {"session": SESSION}, "GET /v1/sessions/s/export", None),
    ],
)
async def test_calls_send_what_was_meant(
    server: ScriptedServer, quick: Limits, call: Any, answer: Any, sent: str, body: Any
) -> None:
    """What was not said is not sent; `None` is sent where it was said; newer servers may answer more."""
    server.say(Reply(200, answer))
    async with Client(server.url, limits=quick) as client:
        assert await call(client)
    (seen,) = server.seen
    query = "&".join(f"{name}={value}" for name, (value,) in sorted(seen.query.items()))
    assert f"{seen.method} {seen.path}" + (f"?{query}" if query else "") == sent
    assert (json.loads(seen.body) if seen.body else None) == body


async def test_a_task_is_found_by_its_exact_title(server: ScriptedServer, quick: Limits) -> None:
    """Titles with anything in them arrive as they are; none found is None."""
    server.say(Reply(200, {"data": [TASK], "next": None}), Reply(200, {"data": [], "next": None}))
    async with Client(server.url, limits=quick) as client:
        found = await client.tasks.find("p", "a & b = ä?")
        assert found is not None
        assert found.id == "t"
        assert await client.tasks.find("p", "x") is None
    assert server.seen[0].query == {"title": ["a & b = ä?"], "limit": ["1"]}


async def test_output_is_read_to_its_end(server: ScriptedServer, quick: Limits) -> None:
    """Page after page, each from behind the last chunk of the one before."""
    server.say(Reply(200, {"data": CHUNKS[:2], "next": "2"}), Reply(200, {"data": CHUNKS[2:], "next": None}))
    async with Client(server.url, limits=quick) as client:
        assert [chunk.text async for chunk in client.sessions.read_output("s")] == ["1", "2", "3"]
    assert [seen.query["after"] for seen in server.seen] == [["0"], ["2"]]


async def test_a_model_is_deleted_by_its_whole_name(server: ScriptedServer, quick: Limits) -> None:
    """A name with slashes is one segment; the deletion tells from where on it is visible."""
    server.say(Reply(204, headers={"X-Position": "e:9"}), Reply(204))
    async with Client(server.url, limits=quick) as client:
        assert await client.models.delete("p", "org/m") == "e:9"
        assert await client.models.delete("p", "org/m") is None
    assert [f"{seen.method} {seen.path}" for seen in server.seen] == ["DELETE /v1/projects/p/models/org%2Fm"] * 2


async def test_a_flag_is_not_set_by_a_truth_value(server: ScriptedServer, quick: Limits) -> None:
    """`True` is a number to Python, and would turn a flag on for one percent."""
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(TypeError, match="'on', 'off' or a percentage"):
            await client.flags.set("f", True)
    assert server.seen == []


async def test_nobody_in_a_phase_is_none(server: ScriptedServer, quick: Limits) -> None:
    """`find` of a free phase is None; of several sessions it is the first, which is the newest."""
    several = [{**SESSION, "id": "new"}, SESSION]
    server.say(Reply(200, {"data": [], "next": None}), Reply(200, {"data": several, "next": None}))
    async with Client(server.url, limits=quick) as client:
        assert await client.sessions.find("t", "run") is None
        found = await client.sessions.find("t", "run", debug=True)
    assert found is not None
    assert found.id == "new"
    assert server.seen[1].query == {"phase": ["run"], "debug": ["true"]}


async def test_answers_know_their_position(server: ScriptedServer, quick: Limits) -> None:
    """The outcome, the session in it and every one of a list have the position of the answer they came in."""
    at = {"X-Position": "e:7"}
    started = {"outcome": "replaced", "session": SESSION, "replaced": SESSION}
    detail = {**TASK, "sessions": {"run": SESSION}}
    server.say(
        Reply(201, started, at),
        Reply(200, {"data": [SESSION], "next": None}, at),
        Reply(200, detail, at),
        Reply(200, SESSION),
        Reply(204, headers=at),
    )
    async with Client(server.url, limits=quick) as client:
        outcome = await client.sessions.start("t", "run", "m")
        (listed,) = await client.sessions.list("t")
        task = await client.tasks.get("t")
        untold = await client.sessions.get("s")
        assert await client.sessions.delete("s") == "e:7"
    assert outcome.replaced is not None
    told = [outcome, outcome.session, outcome.replaced, listed, task, task.sessions["run"]]
    assert [resource.position for resource in told] == ["e:7"] * len(told)
    assert untold.position is None
    # It is no part of the resource.
    assert untold == listed
    assert untold.model_dump() == listed.model_dump()
