"""What came of starts and deletions, as it is shown."""

from typing import Any

import orjson

from sessioncast_server.problems import Problem
from sessioncast_server.sessions.bulk import Deleted, Item
from sessioncast_server.sessions.start import Outcome
from sessioncast_shared import texts


def outcome_status(outcome: Outcome) -> int:
    """200 for a session that was there, 201 for a new one."""
    return 200 if outcome.outcome == "existing" else 201


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """A start's outcome."""
    shown: dict[str, Any] = {"outcome": outcome.outcome, "session": orjson.Fragment(outcome.session.json())}
    if outcome.outcome == "existing":
        shown["message"] = texts.SAME_MODEL
    if outcome.replaced is not None:
        shown["replaced"] = orjson.Fragment(outcome.replaced.json())
    return shown


def item_body(item: Item, request_id: str = "") -> dict[str, Any]:
    """An item of a bulk: its status, and the outcome or the problem."""
    match item:
        case Outcome():
            body = outcome_body(item)
            return {"status": outcome_status(item), **body}
        case Problem():
            return {"status": item.status, "problem": item.document(request_id)}
        case Deleted():
            return {"status": 204}
