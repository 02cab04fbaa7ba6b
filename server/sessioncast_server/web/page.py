"""Pages of lists that are sorted by time and id, newest first."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sessioncast_server.jsontext import json_bytes
from sessioncast_server.problems import Problem
from sessioncast_server.web.cursor import decode, encode
from sessioncast_shared.codes import Code


def page_key(after: str | None) -> tuple[datetime, str] | None:
    """The sort key that the `next` of the page before stands for.

    Raises:
        Problem: 400 `bad_cursor`.
    """
    if after is None:
        return None
    at, id_ = decode(after, str, str)
    try:
        moment = datetime.fromisoformat(str(at))
        # Only what `page_of` writes: another zone's first or last year would not be a moment in UTC.
        known = moment.utcoffset() == timedelta(0)
    except ValueError:
        known = False
    if not known:
        raise Problem(400, Code.BAD_CURSOR, "`after` is not the `next` of a page of this list.")
    return moment, str(id_)


def page_of(
    rows: Sequence[Any], limit: int, resource: Callable[[Any], dict[str, Any]], *, at: str = "created_at"
) -> bytes:
    """A page as JSON, from rows sorted by `at` and `id` of which one more than the limit was read."""
    shown = [resource(row) for row in rows[:limit]]
    return json_bytes({"data": shown, "next": following(rows, limit, at=at)})


def following(rows: Sequence[Any], limit: int, *, at: str) -> str | None:
    """The `next` of a page, None for the last one; rows as for `page_of`."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return encode([getattr(last, at).isoformat(), last.id])
