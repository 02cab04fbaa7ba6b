"""How a chain, and what it cost, are shown."""

from datetime import datetime
from typing import Any

from sessioncast_server.channels.audience import Audience
from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.exchange.reader import View, list_view
from sessioncast_server.jsontext import json_bytes
from sessioncast_server.providers import requests
from sessioncast_server.providers.chain import head_of_chain
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import ResumeTerms, stale_at
from sessioncast_server.providers.totals import list_uses, sum_up
from sessioncast_server.sessions.service import Visible, get_session
from sessioncast_server.web.page import following, page_key
from sessioncast_shared.events import Kind
from sessioncast_shared.filters import Filter

_PROVIDER = (Kind.PROVIDER.value,)


def show_chain(tx: ReadTx, session_id: str, query: requests.ChainQuery, visible: Visible, terms: ResumeTerms) -> View:
    """A page of a session's chain, oldest first, and its head.

    Raises:
        Problem: 404; 400 `bad_cursor`.
    """
    after = page_key(query.after)
    record = get_session(tx, session_id, visible)

    def body() -> bytes:
        page = _page(tx, "session", query.limit, after, session_id=session_id)
        head = head_of_chain(tx, record)
        return json_bytes(
            {
                "data": page["sessions"],
                "next": page["next"],
                "head": None if head is None else head.resource(),
                "stale_at": None if head is None else stale_at(head.last_used_at, terms),
            }
        )

    return list_view(tx, record.project_id, Audience(Filter(sessions=(session_id,), kinds=_PROVIDER)), body)


def metrics_view(tx: ReadTx, channel: str, scope: str, query: requests.MetricsQuery, /, **ids: str) -> View:
    """Totals of a scope (`totals.sum_up`), and a page of what they are of.

    Raises:
        Problem: 400 `bad_cursor`.
    """
    after = page_key(query.after)

    def body() -> bytes:
        return json_bytes(sum_up(tx, scope, **ids).totals() | _page(tx, scope, query.limit, after, **ids))

    return list_view(tx, channel, _audience(scope, ids), body)


def _audience(scope: str, ids: dict[str, str]) -> Audience:
    match scope:
        case "session":
            return Audience(Filter(sessions=(ids["session_id"],), kinds=_PROVIDER))
        case "task":
            return Audience(Filter(tasks=(ids["task_id"],), kinds=_PROVIDER))
        case "milestone":  # labels are the tasks'
            return Audience(Filter(kinds=(Kind.PROVIDER.value, Kind.TASK.value)))
        case _:
            return Audience(Filter(kinds=_PROVIDER))


def _page(tx: ReadTx, scope: str, limit: int, after: tuple[datetime, str] | None, **ids: str) -> dict[str, Any]:
    uses = list_uses(tx, scope, limit=limit + 1, after=after, **ids)
    return {"sessions": [Use.resource(use) for use in uses[:limit]], "next": following(uses, limit, at="started_at")}
