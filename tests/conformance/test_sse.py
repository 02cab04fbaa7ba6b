"""Server-sent events, by the cases that all clients share."""

from typing import Any

import pytest

from sessioncast.streams.sse import SSEParser
from support.conformance import cases


@pytest.mark.parametrize("case", cases("sse"))
def test_event_streams(case: dict[str, Any]) -> None:
    """However a stream is cut, its events, its last id and its retry are what WHATWG says."""
    written = [bytes.fromhex(chunk) for chunk in case["chunks"]]
    whole = b"".join(written)
    for chunks in (written, [whole], [whole[at : at + 1] for at in range(len(whole))]):
        parser = SSEParser()
        events = [event for chunk in chunks for event in parser.feed(chunk)]
        assert [{"type": e.type, "data": e.data, "id": e.last_event_id} for e in events] == case["events"]
        assert (parser.last_event_id, parser.retry_ms) == (case["last_event_id"], case["retry_ms"])
