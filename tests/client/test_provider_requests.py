"""What each call about provider sessions sends, and what it makes of the answer."""

import json
from typing import Any

import pytest

import sessioncast
from sessioncast import Client, Limits, OtherResource, ProviderSession, ResumeFailed, Snapshot, Usage
from sessioncast.problems import problem_error
from sessioncast.streams.frames import SnapshotPage
from sessioncast.streams.tracker import Tracker
from support.samples import AT, SESSION
from support.scripted import Reply, ScriptedServer

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
    "a_field_of_a_newer_server": 1,
}
RESUME = {"decision": "resume", "provider_session_id": "A", "id": "r", "age_s": 1.5, "fence": 2}
VERSION = {"id": "v", "project_id": "p", "number": 1, "session_id": "s", "created_at": AT}
TOTALS = {"total_tokens": 3, "sessions": [ROW], "next": None}
Of = sessioncast.ProviderSession.model_validate(ROW)
WHOLE = sessioncast.Session.model_validate({**SESSION, "id": "s/1"})


@pytest.mark.parametrize(
    ("call", "answer", "sent", "body"),
    [
        (
            lambda c: c.providers.open("s", "update"),
            ROW,
            "POST /v1/sessions/s/provider-sessions",
            {"operation": "update"},
        ),
        (
            lambda c: c.providers.open(
                WHOLE,
                "update",
                provider_session_id="A",
                resumed_from="B",
                iteration=0,
                milestone="M",
                fork=True,
                lease_s=5,
            ),
            ROW,
            "POST /v1/sessions/s%2F1/provider-sessions",
            {
                "operation": "update",
                "provider_session_id": "A",
                "resumed_from": "B",
                "iteration": 0,
                "milestone": "M",
                "fork": True,
                "lease_s": 5,
            },
        ),
        (lambda c: c.providers.patch("r"), ROW, "PATCH /v1/provider-sessions/r", {}),
        (
            lambda c: c.providers.patch(
                Of,
                new_provider_session_id="B",
                usage={"tokens": 0, "cost_usd": None},
                ended=True,
                is_resumable=False,
                structure_fingerprint={"a": "1"},
                saved={"seconds": -1.5},
            ),
            ROW,
            "PATCH /v1/provider-sessions/r",
            {
                "new_provider_session_id": "B",
                "usage": {"tokens": 0},
                "ended": True,
                "is_resumable": False,
                "structure_fingerprint": {"a": "1"},
                "saved": {"seconds": -1.5},
            },
        ),
        (
            lambda c: c.providers.patch("r", usage=Usage(turns=2), structure_fingerprint="opaque"),
            ROW,
            "PATCH /v1/provider-sessions/r",
            {"usage": {"turns": 2}, "structure_fingerprint": "opaque"},
        ),
        (lambda c: c.providers.resume("s"), RESUME, "POST /v1/sessions/s/resume", {}),
        (
            lambda c: c.providers.resume("s", structure_fingerprint={"a": "1"}, fork=True, wait_s=0),
            RESUME,
            "POST /v1/sessions/s/resume",
            {"structure_fingerprint": {"a": "1"}, "fork": True, "wait_s": 0},
        ),
        (
            lambda c: c.providers.resume_failed("r", "locked"),
            RESUME,
            "POST /v1/provider-sessions/r/resume-failed",
            {"reason": "locked"},
        ),
        (
            lambda c: c.providers.chain("s", limit=1, after="x", min_position="e:7"),
            {"data": [ROW], "head": ROW, "stale_at": AT},
            "GET /v1/sessions/s/chain?after=x&limit=1&min_position=e:7",
            None,
        ),
        (lambda c: c.providers.metrics(task="t/1"), TOTALS, "GET /v1/tasks/t%2F1/metrics", None),
        (lambda c: c.providers.metrics(session=WHOLE), TOTALS, "GET /v1/sessions/s%2F1/metrics", None),
        (lambda c: c.providers.metrics(project="p", limit=2), TOTALS, "GET /v1/projects/p/metrics?limit=2", None),
        (
            lambda c: c.providers.metrics(project="p", milestone="M 1/2"),
            TOTALS,
            "GET /v1/projects/p/metrics?milestone=M 1/2",
            None,
        ),
        (lambda c: c.versions.create("p", WHOLE), VERSION, "POST /v1/projects/p/versions", {"session_id": "s/1"}),
        (lambda c: c.versions.latest("p"), VERSION, "GET /v1/projects/p/versions/latest", None),
    ],
)
async def test_calls_send_what_was_meant(
    server: ScriptedServer, quick: Limits, call: Any, answer: Any, sent: str, body: Any
) -> None:
    """What was not said is not sent, zero and False are; resources stand for their ids; newer servers may say more."""
    server.say(Reply(200, answer))
    async with Client(server.url, limits=quick) as client:
        assert await call(client)
    (seen,) = server.seen
    query = "&".join(f"{name}={value}" for name, (value,) in sorted(seen.query.items()))
    assert f"{seen.method} {seen.path}" + (f"?{query}" if query else "") == sent
    assert (json.loads(seen.body) if seen.body else None) == body


async def test_the_fence_travels_in_its_header(server: ScriptedServer, quick: Limits) -> None:
    """Three requests take one; without one there is no header."""
    server.say(Reply(201, ROW), Reply(200, ROW), Reply(200, RESUME), Reply(201, ROW))
    async with Client(server.url, limits=quick) as client:
        await client.providers.open("s", "update", fence=3)
        await client.providers.patch("r", fence=3)
        await client.providers.resume_failed("r", "other", fence=3)
        await client.providers.open("s", "update")
    assert [seen.headers.get("x-session-fence") for seen in server.seen] == ["3", "3", "3", None]


async def test_the_audit_is_read_to_its_end(server: ScriptedServer, quick: Limits) -> None:
    """Page after page, with the same wishes."""
    entry = {"id": "1", "at": AT, "project_id": "p", "action": "abandoned", "user": None}
    server.say(Reply(200, {"data": [entry], "next": "1"}), Reply(200, {"data": [{**entry, "id": "2"}], "next": None}))
    async with Client(server.url, limits=quick) as client:
        assert [found.id async for found in client.providers.audit("p", session="s", user="ann")] == ["1", "2"]
    assert [seen.query.get("after") for seen in server.seen] == [None, ["1"]]
    assert {(seen.path, *seen.query["session"], *seen.query["user"]) for seen in server.seen} == {
        ("/v1/projects/p/audit", "s", "ann")
    }


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"task": "t", "session": "s"},
        {"milestone": "M"},
        {"task": "t", "milestone": "M"},
        {"project": "p", "session": "s"},
    ],
)
async def test_metrics_are_of_one_thing(server: ScriptedServer, quick: Limits, names: dict[str, str]) -> None:
    """Whoever names none, or two, is told before anything is sent."""
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(TypeError, match="name a task, a session, a project"):
            await client.providers.metrics(**names)  # type: ignore[arg-type]  # the cases differ
    assert server.seen == []


async def test_a_reason_that_is_none_is_not_sent(server: ScriptedServer, quick: Limits) -> None:
    """Neither by the request nor by the exception."""
    async with Client(server.url, limits=quick) as client:
        with pytest.raises(ValueError, match="tired"):
            await client.providers.resume_failed("r", "tired")
    with pytest.raises(ValueError, match="tired"):
        ResumeFailed("tired")
    assert server.seen == []


def test_a_failure_says_why() -> None:
    """`reason` is for programs, the text for people."""
    failure = ResumeFailed("not_found", "no such file")
    assert (failure.reason, failure.reason.final, str(failure)) == ("not_found", True, "not_found: no such file")
    assert str(ResumeFailed(sessioncast.FailureReason.LOCKED)) == "locked"


def test_refusals_have_their_exceptions() -> None:
    """A violation, and a turn that did not come with the number of those ahead; elsewhere there is no such number."""
    violation = problem_error(403, {"code": "session_security_violation", "detail": "Session security violation"})
    assert type(violation) is sessioncast.SecurityViolation
    assert str(violation) == "403 session_security_violation: Session security violation"
    for told, ahead in ((2, 2), (None, None), ("2", None)):
        busy = problem_error(409, {"code": "session_being_modified", "ahead": told})
        assert isinstance(busy, sessioncast.SessionBeingModified)
        assert busy.ahead == ahead


def test_a_snapshot_has_the_heads_of_chains() -> None:
    """Resources of the kind `provider` are provider sessions; unknown kinds are still told as they are."""
    tracker = Tracker("url", None, "auto")
    tracker.connecting()
    page = [{"kind": "provider", "data": ROW}, {"kind": "session", "data": SESSION}, {"kind": "new", "data": {}}]
    ((snapshot, _),) = tracker.take(SnapshotPage(page, "e:1", more=False))
    assert isinstance(snapshot, Snapshot)
    assert snapshot.provider_sessions == [ProviderSession.model_validate(ROW)]
    assert [type(resource) for resource in snapshot.resources] == [ProviderSession, sessioncast.Session, OtherResource]
