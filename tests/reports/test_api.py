"""Reports of clients: what is taken, what is told of it, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from sessioncast_server.auth.tokens import Authenticator
from sessioncast_server.observe.metrics import Metrics
from sessioncast_server.reports.api import ReportsApi
from sessioncast_server.web.endpoint import router, routes
from sessioncast_server.web.inputs import Limits
from support.api import SECRET, bearer, problem
from support.asgi import served
from support.lanes import lanes

REPORTS = "/v1/client-reports"
AT = "2026-01-01T00:00:00Z"
SESSION = "0b3c1c1e-8c57-4e0b-9d0e-0123456789ab"
LEAST = {"at": AT, "message": "m"}


class Setting:
    """The endpoint on a port, without a database; its clock stands until it is moved."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.now = 0.0
        api = ReportsApi(self.metrics, per_minute=3, clock=lambda: self.now)
        self.asgi = router(routes(api.endpoints(), authenticator=Authenticator(secret=SECRET), limits=Limits()))
        self.http = httpx2.AsyncClient()

    async def report(self, body: Any, *, token: str | None = None, **more: Any) -> httpx2.Response:
        """The answer to a report."""
        headers = {"Authorization": token or bearer(sub="ann", projects=[], scopes=[])}
        return await self.http.post(REPORTS, json=body, headers=headers, **more)

    def counted(self, kind: str) -> float:
        """How many of a kind."""
        return self.metrics.registry.get_sample_value("sessioncast_client_reports_total", {"kind": kind}) or 0.0


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    """One with nothing reported yet."""
    one = Setting()
    async with served(one.asgi) as address:
        one.http.base_url = f"http://{address}"
        async with one.http:
            yield one


async def test_a_report_is_a_line_and_a_count(setting: Setting) -> None:
    """Everything said stands in one line, with who said it; anybody with a token may, whatever its rights."""
    body = {
        "session_id": SESSION.upper(),
        "at": AT,
        "heard_at": "2025-12-31T23:59:00+02:00",
        "kind": "stale",
        "transport": "websocket",
        "message": "Nothing was heard for 30 s.",
    }
    with structlog.testing.capture_logs() as lines:
        answer = await setting.report(body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert lines == [
        {
            **body,
            "session_id": SESSION,
            "at": "2026-01-01T00:00:00+00:00",
            "event": "client report",
            "user": "ann",
            "log_level": "warning",
        }
    ]
    assert (setting.counted("stale"), setting.counted("other")) == (1, 0)


async def test_only_a_time_and_a_text_are_needed(setting: Setting) -> None:
    """What is not said is none, and the kind is `other`."""
    with structlog.testing.capture_logs() as lines:
        assert (await setting.report(LEAST)).status_code == 204
    [line] = lines
    assert [line[name] for name in ("session_id", "heard_at", "transport", "kind")] == [None, None, None, "other"]
    assert setting.counted("other") == 1


async def test_no_text_breaks_the_line_or_steers_the_terminal(setting: Setting) -> None:
    """Line breaks, escapes, controls and marks of direction are spaces; letters of all languages stay."""
    odd = "a\r\nb\x1b[31mc\x00d\x85e\u2028f\u202eg\x7fh «ü» 語"
    with structlog.testing.capture_logs() as lines:
        assert (await setting.report({"at": AT, "message": odd, "transport": "s\ns\te"})).status_code == 204
    assert lines[0]["message"] == "a  b [31mc d e f g h «ü» 語"
    assert lines[0]["transport"] == "s s e"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"at": None}, "at"),
        ({"at": 0}, "at"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-01-01T00:00:00"}, "at"),
        ({"heard_at": 1e300}, "heard_at"),
        ({"message": ""}, "message"),
        ({"message": "x" * 2001}, "message"),
        ({"message": ["x"]}, "message"),
        ({"kind": "boring"}, "kind"),
        ({"session_id": "x"}, "session_id"),
        ({"session_id": 7}, "session_id"),
        ({"transport": "x" * 21}, "transport"),
        ({"more": 1}, "more"),
    ],
)
async def test_what_is_no_report_is_refused(setting: Setting, change: dict[str, Any], field: str) -> None:
    """422 with the field, nothing in the log, nothing counted."""
    with structlog.testing.capture_logs() as lines:
        document = problem(await setting.report({**LEAST, **change}), 422, "invalid")
    assert document["errors"][0]["field"] == field
    assert [line for line in lines if line["event"] == "client report"] == []
    assert setting.counted("other") == 0


async def test_the_bounds_are_taken(setting: Setting) -> None:
    """2,000 characters, and the first and last instants there are, each with the widest offset."""
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        assert (await setting.report({"at": at, "message": "語" * 2000})).status_code == 204


async def test_too_many_of_one_user_are_refused(setting: Setting) -> None:
    """The fourth within a minute is 429 with the time to come back, and no line; others are heard, and then it is."""
    bob = bearer(sub="bob")
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert (await setting.report(LEAST)).status_code == 204
        setting.now = 19.5
        answer = await setting.report(LEAST)
        assert problem(answer, 429, "too_many")["retryable"] is True
        assert answer.headers["retry-after"] == "41"
        assert (await setting.report(LEAST, token=bob)).status_code == 204
        setting.now = 60.0
        assert (await setting.report(LEAST)).status_code == 204
    assert [line["user"] for line in lines if line["event"] == "client report"] == ["ann"] * 3 + ["bob", "ann"]
    assert setting.counted("other") == 5


async def test_nobody_is_not_heard(setting: Setting) -> None:
    """Without a token that is accepted: 401."""
    problem(await setting.report(LEAST, token="Bearer nonsense"), 401, "unauthenticated")


async def test_a_node_takes_as_many_as_it_is_told(tmp_path: Path) -> None:
    """The setting decides; a report needs no statement."""
    async with lanes(tmp_path, "auto", CLIENT_REPORTS_PER_MINUTE="1") as [lane]:
        await lane.answer("POST", REPORTS, LEAST)
        async with httpx2.AsyncClient() as http:
            headers = {"Authorization": bearer()}
            refused = await http.post(lane.url + REPORTS, json=LEAST, headers=headers)
        assert refused.status_code == 429
        rendered = lane.application.metrics.render().decode()
    asked = [line for line in rendered.splitlines() if "request_statements_count" in line]
    assert asked
    assert [line for line in asked if REPORTS in line] == []
