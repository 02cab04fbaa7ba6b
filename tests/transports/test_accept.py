"""One URL, two answers: which of them `Accept` asks for."""

import pytest

from support.api import Api
from support.node import Node
from support.streams import sse

POLLS = [
    "application/json",
    "application/json, text/plain, */*",
    "Application/JSON;q=0.5",
    "text/event-stream;q=0, application/json",
    "text/event-stream;q=0.5, application/json;q=0.6",
    "text/event-stream; q=0.0, */*",
]
STREAMS = [
    "",
    "*/*",
    "text/event-stream",
    "application/json, text/event-stream",
    "application/json;q=0",
    "application/json; v=1; q=0.000, */*",
    "application/json;q=0.5, text/event-stream;q=0.6",
]


@pytest.mark.parametrize("accept", POLLS)
def test_json_is_a_poll(api: Api, accept: str) -> None:
    """JSON that is wanted more than a stream."""
    path = f"/v1/projects/{api.project()}/events"
    assert api.get(path, headers={"Accept": accept}).headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", STREAMS)
async def test_everything_else_is_a_stream(node: Node, api: Api, accept: str) -> None:
    """Nothing said, anything taken, JSON excluded, or a stream wanted as much."""
    path = f"/v1/projects/{api.project()}/events"
    async with sse(node.url, path, token=api.token, headers={"Accept": accept}) as stream:
        await stream.said("snapshot")
