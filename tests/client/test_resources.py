"""What each typed call sends, and what it makes of the answer."""

import json
from typing import Any

import pytest

import sessioncast
from sessioncast import Client, Limits
from support.scripted import Reply, ScriptedServer

AT = "2026-01-01T00:00:00Z"
TASK = {"id": "t", "project_id": "p", "title": "T", "version": 1, "created_at": AT, "updated_at": AT}
SESSION = {
    **dict.fromkeys(("created_at", "updated_at", "last_activity_at"), AT),
    "id": "s",
    "project_id": "p",
    "task_id": "t",
    "phase": "run",
    "debug": False,
    "model": {"name": "m"},
    "user": "u",
    "status": "pending",
    "active": True,
    "version": 1,
    "fence": 1,
    "output_seq": 0,
    "a_field_of_a_newer_server": 1,
}
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
