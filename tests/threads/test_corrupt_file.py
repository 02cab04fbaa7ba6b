"""Bytes that a disk has changed in the file of a server that is not running."""

from pathlib import Path
from typing import Any

from support.chatnode import housed
from support.chatwatcher import Watcher

FLIPS = [(0, 0x01), (0.5, 0x20), (0.5, 0x80), (-1, 0x01)]
"""Where in a message, and which bits."""


def flip(data: bytearray, message: dict[str, Any], where: float, bits: int) -> None:
    """Change one byte of a message where it is stored."""
    head = b'{"id":"%s","role"' % message["id"].encode()  # in events other members stand before the id
    assert data.count(head) == 1
    start = data.index(head)
    end = data.index(message["created_at"].encode() + b'"}', start) + len(message["created_at"]) + 2
    place = end - 1 if where == -1 else start + int(where * (end - start))
    data[place] ^= bits


def test_a_flipped_byte_costs_one_message(sqlite_url: str, tmp_path: Path) -> None:
    """At whichever place of the message, also where it is no UTF-8 then: the others are there after the start, and the
    chat goes on."""
    with housed(tmp_path, sqlite_url) as house:
        talks = [house.talk() for _ in FLIPS]
        for talk in talks:
            talk.say("Create a task")
            talk.say("Add milk to that task")
        before = [talk.whole() for talk in talks]
        assert house.node.stop() == 0
        data = bytearray(house.stored.file.read_bytes())
        for (where, bits), messages in zip(FLIPS, before, strict=True):
            flip(data, messages[1], where, bits)
        house.stored.file.write_bytes(data)
        house.node.start()
        for talk, messages in zip(talks, before, strict=True):
            with Watcher(talk.api, talk.project, talk.id) as watcher:
                assert talk.whole() == [messages[0], *messages[2:]]
                (event,) = watcher.sees("thread.quarantined")
                assert event["data"]["removed"] == [[2, 2]]
            assert "You said 2 things" in talk.say("What tasks do I have?")
            assert [message["seq"] for message in talk.whole()] == [1, 3, 4, 5, 6]
        assert house.stored.run("SELECT seq FROM message_quarantine") == [(2,)] * len(FLIPS)
