"""Answers that can be kept, and what becomes of values in them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from sessioncast_server.jsontext import json_bytes
from sessioncast_server.web.answer import Answer
from sessioncast_shared.position import Position
from sessioncast_shared.resources import Model
from sessioncast_shared.statuses import Status


def test_values_of_ours_become_json() -> None:
    """Models, dataclasses, enumerations, ids, times and sets have one spelling each."""
    at = datetime(2026, 1, 2, 3, 4, 5, 600, UTC)
    value = {
        "at": at,
        "id": UUID(int=1),
        "model": Model(name="m"),
        "position": Position("e", 1),
        "set": {"b", "a"},
        "status": Status.IDLE,
    }
    assert json.loads(json_bytes(value)) == {
        "at": "2026-01-02T03:04:05.000600Z",
        "id": "00000000-0000-0000-0000-000000000001",
        "model": {"name": "m", "version": None, "params": None},
        "position": {"epoch": "e", "offset": 1},
        "set": ["a", "b"],
        "status": "idle",
    }
    assert json_bytes(at.astimezone(timezone(timedelta(0)))).endswith(b'Z"')


def test_what_has_no_json_is_told() -> None:
    """A mistake of the server's shows as one, not as a text like `<object …>`."""
    with pytest.raises(TypeError):
        json_bytes(object())


def test_an_answer_becomes_a_response_of_one_request() -> None:
    """JSON unless it says otherwise; the request id is the asker's; nothing of one response leaks into the next."""
    answer = Answer(201, b"{}", {"ETag": '"1"'})
    first, second = answer.response("r-1"), answer.response("r-2")
    assert (first.status_code, first.body, first.headers["etag"]) == (201, b"{}", '"1"')
    assert first.headers["content-type"] == "application/json"
    assert (first.headers["x-request-id"], second.headers["x-request-id"]) == ("r-1", "r-2")
    assert Answer(200, b"x", {"content-type": "text/csv"}).response("r").headers["content-type"] == "text/csv"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_type(status: int) -> None:
    """RFC 9110, sections 15.3.5 and 15.4.5."""
    headers = Answer(status).response("r").headers
    assert "content-type" not in headers
    assert "content-length" not in headers
