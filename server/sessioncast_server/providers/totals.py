"""What provider sessions used together: sums that the database makes."""

from datetime import datetime
from typing import Any

from sessioncast_server.db.transaction import ReadTx
from sessioncast_server.providers import statements
from sessioncast_server.providers.record import Use
from sessioncast_server.providers.rules import NANO, Sums

_PAGE = 1000


def sum_up(tx: ReadTx, scope: str, **ids: str) -> Sums:
    """Sums over a scope.

    Args:
        scope: `session`, `task`, `milestone` or `project`.
        ids: `session_id`; `task_id`; `project_id` and `milestone`; `project_id`.
    """
    row = tx.one(statements.SUMS[scope], **ids)
    return Sums(
        count=int(row.count),
        tokens=int(row.tokens),
        cached_tokens=int(row.cached_tokens),
        turns=int(row.turns),
        cost_nano=int(row.cost_whole) * NANO + int(row.cost_rest),
        costs_known=int(row.costs_known),
    )


def list_uses(
    tx: ReadTx, scope: str, *, limit: int, after: tuple[datetime, str] | None = None, **ids: str
) -> list[Use]:
    """At most `limit` provider sessions of a scope, oldest first, after the one with sort key `after`."""
    params: dict[str, Any] = dict(ids)
    if after is not None:
        params["after_at"], params["after_id"] = after
    return [Use(*row) for row in tx.all(statements.PAGES[scope, after is not None], limit=limit, **params)]


def export_uses(tx: ReadTx, session_id: str) -> dict[str, Any]:
    """The whole chain of a session and what it used, for its download."""
    chain: list[dict[str, Any]] = []
    after: tuple[datetime, str] | None = None
    while True:
        uses = list_uses(tx, "session", limit=_PAGE, after=after, session_id=session_id)
        chain += [use.resource() for use in uses]
        if len(uses) < _PAGE:
            return {"chain": chain, "usage": sum_up(tx, "session", session_id=session_id).totals()}
        after = (uses[-1].started_at, uses[-1].id)
