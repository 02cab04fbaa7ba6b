"""Bytes that a disk has changed in the file of a server that is not running."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.api import problem
from support.chat import Talk, not_kept
from support.chatnode import House, house_of
from support.chatwatcher import Watcher

FLIPS = [(0, 0x01), (0.5, 0x20), (0.5, 0x80), (-1, 0x01)]
"""Where in a message, and which bits."""
PAGE = 4096
"""Bytes of a page of SQLite."""

pytestmark = pytest.mark.xdist_group("damaged threads")  # they share a node


def place_of(data: bytearray, message: dict[str, Any]) -> int:
    """Where a message is stored."""
    head = b'{"id":"%s","role"' % message["id"].encode()  # in events other members stand before the id
    assert data.count(head) == 1
    return data.index(head)


def flip(data: bytearray, message: dict[str, Any], where: float, bits: int) -> None:
    """Change one byte of a message where it is stored."""
    start = place_of(data, message)
    end = data.index(message["created_at"].encode() + b'"}', start) + len(message["created_at"]) + 2
    place = end - 1 if where == -1 else start + int(where * (end - start))
    data[place] ^= bits


@dataclass(frozen=True, slots=True)
class Damaged:
    """A node on a file that was damaged while it was stopped.

    Attributes:
        flipped: threads whose second message has a flipped byte, and what was in them.
        unreadable: a thread on a page of the file that cannot be read.
        whole: a thread that is as it was.
    """

    house: House
    flipped: list[tuple[Talk, list[dict[str, Any]]]]
    unreadable: Talk
    whole: Talk


@pytest.fixture(scope="module")
def damaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    """Threads with two exchanges each, in a file with all kinds of damage."""
    with house_of(request, tmp_path_factory, "sqlite") as house:
        talks = [house.talk() for _ in range(len(FLIPS) + 2)]
        for talk in talks:
            talk.say("Create a task")
            talk.say("Add milk to that task")
            house.talk().appended(*["x" * 1000] * 8)  # more than a page, so that none holds two of the threads
        before = [talk.whole() for talk in talks]
        assert house.node.stop() == 0
        data = bytearray(house.stored.file.read_bytes())
        page = place_of(data, before[0][2]) // PAGE
        assert page not in {place_of(data, message) // PAGE for messages in before[1:] for message in messages}
        for (where, bits), messages in zip(FLIPS, before[2:], strict=True):
            flip(data, messages[1], where, bits)
        data[page * PAGE] ^= 0xFF
        house.stored.file.write_bytes(data)
        house.node.start()
        yield Damaged(house, list(zip(talks[2:], before[2:], strict=True)), *talks[:2])


def test_a_flipped_byte_costs_one_message(damaged: Damaged) -> None:
    """At whichever place of the message, also where it is no UTF-8 then: the others are there after the start, and the
    chat goes on."""
    for talk, messages in damaged.flipped:
        with Watcher(talk.api, talk.project, talk.id) as watcher:
            assert talk.whole() == [messages[0], *messages[2:]]
            (event,) = watcher.sees("thread.quarantined")
            assert event["data"]["removed"] == [[2, 2]]
        assert "You said 2 things" in talk.say("What tasks do I have?")
        assert [message["seq"] for message in talk.whole()] == [1, 3, 4, 5, 6]
    assert damaged.house.stored.run("SELECT seq FROM message_quarantine") == [(2,)] * len(FLIPS)


def test_a_damaged_page_costs_its_threads_their_memory(damaged: Damaged) -> None:
    """Where SQLite itself cannot read on, a thread is refused and its chat is answered without it, with a warning;
    threads on other pages go on."""
    lost = damaged.unreadable
    problem(lost.api.get(f"{lost.path}/messages"), 503, "unavailable")
    assert not_kept(lost.send("What tasks do I have?")).startswith("I have no memory of this thread")
    assert "You said 2 things" in damaged.whole.say("What tasks do I have?")
