"""Streams that cannot be begun."""

from collections.abc import Sequence

import pytest

from sessioncast_server.channels.attendant import Wish
from sessioncast_server.transports.wsframes import WebSocketFraming
from support.hubs import ALL, Rig, subscriber_of
from support.sink import RecordingSink


class _LeftSink(RecordingSink):
    """Its client left while its place was being made."""

    def feed_all(self, parts: Sequence[bytes]) -> bool:
        raise RuntimeError("the transport is closed")


async def test_a_stream_that_cannot_be_begun_leaves_no_place_behind(rig: Rig) -> None:
    """Whatever the sink's fault is, the channel is let go of as if it had never been there."""
    hub = await rig.node()
    await rig.task()
    follower = await rig.follower(hub)
    channel = subscriber_of(follower).channel
    before = (channel.holders, len(channel.subscribers))
    with pytest.raises(RuntimeError, match="closed"):
        await hub.join("p", ALL, WebSocketFraming("left"), _LeftSink(), Wish(await rig.head()))
    assert (channel.holders, len(channel.subscribers)) == before
